"""torch.nn.GLU with the backward pass of `bptrain.ops.glu`."""

import torch
from torch import Tensor

from bptrain.ops.glu import glu


class GLU(torch.nn.GLU):
    """One half of the channels along `dim`, gated by the sigmoid of the other half."""

    def forward(self, input: Tensor) -> Tensor:
        """Return glu(input), of half the size along `dim`."""
        return glu(input, self.dim)
