"""torch.nn.ReLU with the backward pass of `bptrain.ops.relu`."""

import torch
from torch import Tensor

from bptrain.ops.relu import relu


class ReLU(torch.nn.ReLU):
    """max(x, 0)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return max(input, 0)."""
        return relu(input, inplace=self.inplace)
