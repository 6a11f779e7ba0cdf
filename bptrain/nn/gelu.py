"""torch.nn.GELU with the backward pass of `bptrain.ops.gelu`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.ops.gelu import Approximation, gelu


class GELU(torch.nn.GELU):
    """x times the normal distribution function at x; `approximate` is 'none' or 'tanh'."""

    def forward(self, input: Tensor) -> Tensor:
        """Return gelu(input)."""
        return gelu(input, cast("Approximation", self.approximate))
