"""torch.nn.ZeroPad2d with the backward pass of `bptrain.ops.pad`."""

import torch
from torch import Tensor

from bptrain.ops.pad import pad


class ZeroPad2d(torch.nn.ZeroPad2d):
    """Pad the last two axes with zeros, (left, right, top, bottom); negative sizes crop."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the padded input."""
        return pad(input, self.padding)
