"""torch.nn.LeakyReLU with the backward pass of `bptrain.ops.leaky_relu`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.leaky_relu import leaky_relu


class LeakyReLU(torch.nn.LeakyReLU):
    """x where it is positive, else negative_slope x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__(negative_slope)

    def forward(self, input: Tensor) -> Tensor:
        """Return leaky_relu(input)."""
        return leaky_relu(input, self.negative_slope)
