"""torch.nn.AlphaDropout with the backward pass of `bptrain.ops.alpha_dropout`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.alpha_dropout import alpha_dropout


class AlphaDropout(torch.nn.AlphaDropout):
    """Set each element to SELU's lowest value with probability p; `inplace` is not offered."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """Return input, in training with elements at SELU's lowest value."""
        return alpha_dropout(input, self.p, self.training)
