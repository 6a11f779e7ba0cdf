"""torch.nn.AlphaDropout with the backward pass of `bptrain.ops.alpha_dropout`."""

import torch
from torch import Tensor

from bptrain.ops.alpha_dropout import alpha_dropout


class AlphaDropout(torch.nn.AlphaDropout):
    """Set each element to SELU's lowest value with probability p."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input, in training with elements at SELU's lowest value."""
        return alpha_dropout(input, self.p, self.training, inplace=self.inplace)
