"""torch.nn.LogSigmoid with the backward pass of `bptrain.ops.logsigmoid`."""

import torch
from torch import Tensor

from bptrain.ops.logsigmoid import logsigmoid


class LogSigmoid(torch.nn.LogSigmoid):
    """log(sigmoid(x))."""

    def forward(self, input: Tensor) -> Tensor:
        """Return logsigmoid(input)."""
        return logsigmoid(input)
