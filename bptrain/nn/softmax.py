"""torch.nn.Softmax with the backward pass of `bptrain.ops.softmax`."""

import torch
from torch import Tensor

from bptrain.ops.softmax import softmax


class Softmax(torch.nn.Softmax):
    """Softmax along `dim`; None chooses it as torch does."""

    def forward(self, input: Tensor) -> Tensor:
        """Return softmax(input)."""
        return softmax(input, self.dim)
