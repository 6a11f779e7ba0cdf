"""torch.nn.SiLU with the backward pass of `bptrain.ops.silu`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.silu import silu


class SiLU(torch.nn.SiLU):
    """x sigmoid(x)."""

    def __init__(self, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return silu(input)."""
        return silu(input)
