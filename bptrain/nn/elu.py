"""torch.nn's ELU, CELU and SELU with the backward pass of `bptrain.ops.elu`."""

import torch
from torch import Tensor

from bptrain.ops.elu import celu, elu, selu


class ELU(torch.nn.ELU):
    """x where it is positive, else alpha (e^x - 1)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return elu(input)."""
        return elu(input, self.alpha, inplace=self.inplace)


class CELU(torch.nn.CELU):
    """x where it is positive, else alpha (e^(x / alpha) - 1)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return celu(input)."""
        return celu(input, self.alpha, inplace=self.inplace)


class SELU(torch.nn.SELU):
    """The ELU that preserves mean 0 and variance 1 where weights have variance 1 / fan-in."""

    def forward(self, input: Tensor) -> Tensor:
        """Return selu(input)."""
        return selu(input, inplace=self.inplace)
