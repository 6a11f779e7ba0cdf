"""torch.nn.GroupNorm with the backward pass of `bptrain.ops.group_norm`."""

import torch
from torch import Tensor

from bptrain.ops.group_norm import group_norm


class GroupNorm(torch.nn.GroupNorm):
    """Group normalization of input [N, C, ...]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, in its own shape."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
