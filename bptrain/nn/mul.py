"""x y as a module, with the backward pass of `bptrain.ops.mul`; torch.nn has none."""

import torch
from torch import Tensor

from bptrain.ops.mul import mul


class Multiply(torch.nn.Module):
    """The product of two tensors, element by element, such as of a gate and what it lets pass."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return input * other, broadcast as in torch."""
        return mul(input, other)
