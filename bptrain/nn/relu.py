"""torch.nn.ReLU with the backward pass of `bptrain.ops.relu`."""

import torch
from torch import Tensor

from bptrain.ops.relu import relu


class ReLU(torch.nn.ReLU):
    """max(x, 0); `inplace` is not offered: the layer before may have kept the input it erases."""

    def __init__(self, inplace: bool = False) -> None:
        if inplace:
            raise NotImplementedError(
                "ReLU(inplace=True) is not offered: inputs are never modified"
            )
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return max(input, 0)."""
        return relu(input)
