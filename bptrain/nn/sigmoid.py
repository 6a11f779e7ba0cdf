"""torch.nn.Sigmoid with the backward pass of `bptrain.ops.sigmoid`."""

import torch
from torch import Tensor

from bptrain.ops.sigmoid import sigmoid


class Sigmoid(torch.nn.Sigmoid):
    """The sigmoid of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Return sigmoid(input)."""
        return sigmoid(input)
