"""torch.nn.RMSNorm with the backward pass of `bptrain.ops.rms_norm`."""

import torch
from torch import Tensor

from bptrain.ops.rms_norm import rms_norm


class RMSNorm(torch.nn.RMSNorm):
    """Root-mean-square normalization of input [..., *normalized_shape]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input, in its own shape."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)
