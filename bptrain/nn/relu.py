"""torch.nn.ReLU with the backward pass of `bptrain.ops.relu`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.relu import relu


class ReLU(torch.nn.ReLU):
    """max(x, 0)."""

    def __init__(self, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return max(input, 0)."""
        return relu(input)
