"""torch.nn.Hardsigmoid with the backward pass of `bptrain.ops.hardsigmoid`."""

import torch
from torch import Tensor

from bptrain.ops.hardsigmoid import hardsigmoid


class Hardsigmoid(torch.nn.Hardsigmoid):
    """Linear from 0 at -3 to 1 at 3, constant beyond."""

    def forward(self, input: Tensor) -> Tensor:
        """Return hardsigmoid(input)."""
        return hardsigmoid(input, inplace=self.inplace)
