"""torch.nn.LogSoftmax with the backward pass of `bptrain.ops.log_softmax`."""

import torch
from torch import Tensor

from bptrain.ops.log_softmax import log_softmax


class LogSoftmax(torch.nn.LogSoftmax):
    """The logarithm of softmax along `dim`; None chooses it as torch does."""

    def forward(self, input: Tensor) -> Tensor:
        """Return log_softmax(input)."""
        return log_softmax(input, self.dim)
