"""torch.nn.Hardswish with the backward pass of `bptrain.ops.hardswish`."""

import torch
from torch import Tensor

from bptrain.ops.hardswish import hardswish


class Hardswish(torch.nn.Hardswish):
    """x hardsigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return hardswish(input)."""
        return hardswish(input, inplace=self.inplace)
