"""torch.nn.Tanh with the backward pass of `bptrain.ops.tanh`."""

import torch
from torch import Tensor

from bptrain.ops.tanh import tanh


class Tanh(torch.nn.Tanh):
    """The tanh of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Return tanh(input)."""
        return tanh(input)
