"""torch.nn.LeakyReLU with the backward pass of `bptrain.ops.leaky_relu`."""

import torch
from torch import Tensor

from bptrain.ops.leaky_relu import leaky_relu


class LeakyReLU(torch.nn.LeakyReLU):
    """x where it is positive, else negative_slope x."""

    def forward(self, input: Tensor) -> Tensor:
        """Return leaky_relu(input)."""
        return leaky_relu(input, self.negative_slope, inplace=self.inplace)
