"""x + y as a module, with the backward pass of `bptrain.ops.add`; torch.nn has none."""

import torch
from torch import Tensor

from bptrain.ops.add import add


class Add(torch.nn.Module):
    """The sum of two tensors, such as a residual connection."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return input + other, broadcast as in torch."""
        return add(input, other)
