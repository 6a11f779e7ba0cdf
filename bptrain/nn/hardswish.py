"""torch.nn.Hardswish with the backward pass of `bptrain.ops.hardswish`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.hardswish import hardswish


class Hardswish(torch.nn.Hardswish):
    """x hardsigmoid(x)."""

    def __init__(self, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return hardswish(input)."""
        return hardswish(input)
