"""torch.nn.PReLU with the backward pass of `bptrain.ops.prelu`."""

import torch
from torch import Tensor

from bptrain.ops.prelu import prelu


class PReLU(torch.nn.PReLU):
    """x where it is positive, else weight x; one weight, or one for each channel, is learned."""

    def forward(self, input: Tensor) -> Tensor:
        """Return prelu(input) of input [N, num_parameters, ...], or of any shape for one weight."""
        return prelu(input, self.weight)
