"""torch.nn.LayerNorm with the backward pass of `bptrain.ops.layer_norm`."""

import torch
from torch import Tensor

from bptrain.ops.layer_norm import layer_norm


class LayerNorm(torch.nn.LayerNorm):
    """Layer normalization of input [..., *normalized_shape]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, in its own shape."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
