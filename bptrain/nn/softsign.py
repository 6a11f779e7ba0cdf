"""torch.nn.Softsign with the backward pass of `bptrain.ops.softsign`."""

import torch
from torch import Tensor

from bptrain.ops.softsign import softsign


class Softsign(torch.nn.Softsign):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return softsign(input)."""
        return softsign(input)
