"""torch.nn.LocalResponseNorm with the backward pass of `bptrain.ops.local_response_norm`."""

import torch
from torch import Tensor

from bptrain.ops.local_response_norm import local_response_norm


class LocalResponseNorm(torch.nn.LocalResponseNorm):
    """Local response normalization over neighboring channels, of input [N, C, ...]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, in its own shape."""
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)
