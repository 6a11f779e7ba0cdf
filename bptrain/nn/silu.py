"""torch.nn.SiLU with the backward pass of `bptrain.ops.silu`."""

import torch
from torch import Tensor

from bptrain.ops.silu import silu


class SiLU(torch.nn.SiLU):
    """x sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Return silu(input)."""
        return silu(input, inplace=self.inplace)
