"""torch.nn.Flatten with the backward pass of `bptrain.ops.flatten`."""

import torch
from torch import Tensor

from bptrain.ops.flatten import flatten


class Flatten(torch.nn.Flatten):
    """Flatten several axes into one, by default all but the first."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input with the axes start_dim to end_dim flattened into one."""
        return flatten(input, self.start_dim, self.end_dim)
