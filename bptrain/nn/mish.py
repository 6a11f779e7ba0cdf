"""torch.nn.Mish with the backward pass of `bptrain.ops.mish`."""

import torch
from torch import Tensor

from bptrain.ops.mish import mish


class Mish(torch.nn.Mish):
    """x tanh(softplus(x))."""

    def forward(self, input: Tensor) -> Tensor:
        """Return mish(input)."""
        return mish(input, inplace=self.inplace)
