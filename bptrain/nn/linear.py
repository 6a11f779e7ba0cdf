"""torch.nn.Linear with the backward pass of `bptrain.ops.linear`."""

import torch
from torch import Tensor

from bptrain.ops.linear import linear


class Linear(torch.nn.Linear):
    """y = x W^T + b, on input [..., in_features]; returns [..., out_features]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return y."""
        return linear(input, self.weight, self.bias)
