"""torch.nn.Softplus with the backward pass of `bptrain.ops.softplus`."""

import torch
from torch import Tensor

from bptrain.ops.softplus import softplus


class Softplus(torch.nn.Softplus):
    """log(1 + e^(beta x)) / beta, or x where beta x > threshold."""

    def forward(self, input: Tensor) -> Tensor:
        """Return softplus(input)."""
        return softplus(input, self.beta, self.threshold)
