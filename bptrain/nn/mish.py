"""torch.nn.Mish with the backward pass of `bptrain.ops.mish`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.mish import mish


class Mish(torch.nn.Mish):
    """x tanh(softplus(x))."""

    def __init__(self, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return mish(input)."""
        return mish(input)
