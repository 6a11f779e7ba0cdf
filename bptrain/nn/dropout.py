"""torch.nn's dropouts with the backward pass of `bptrain.ops.dropout`."""

import torch
from torch import Tensor

from bptrain.ops.dropout import dropout, dropout1d, dropout2d


class Dropout(torch.nn.Dropout):
    """Drop each element with probability p."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input, in training with elements dropped."""
        return dropout(input, self.p, self.training, inplace=self.inplace)


class Dropout1d(torch.nn.Dropout1d):
    """Drop each channel of a line with probability p."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input [N, C, W] or [C, W], in training with channels dropped."""
        return dropout1d(input, self.p, self.training, inplace=self.inplace)


class Dropout2d(torch.nn.Dropout2d):
    """Drop each channel of a plane with probability p."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input [N, C, H, W], in training with channels dropped."""
        return dropout2d(input, self.p, self.training, inplace=self.inplace)
