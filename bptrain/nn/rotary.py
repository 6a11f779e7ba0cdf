"""Rotary position embedding as a module, by `bptrain.ops.rotary`; torch.nn has none."""

import torch
from torch import Tensor

from bptrain.ops.rotary import rotary


class Rotary(torch.nn.Module):
    """Turns pairs of numbers by angles that depend on the time step."""

    def forward(self, input: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return input [..., T, E] turned by angles whose cos and sin are [T, E/2]."""
        return rotary(input, cos, sin)
