"""torch.nn.Bilinear with the backward pass of `bptrain.ops.bilinear`."""

import torch
from torch import Tensor

from bptrain.ops.bilinear import bilinear


class Bilinear(torch.nn.Bilinear):
    """y_o = x^T W_o z + b_o, on inputs [..., in1_features] and [..., in2_features]."""

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return y [..., out_features]."""
        return bilinear(input1, input2, self.weight, self.bias)
