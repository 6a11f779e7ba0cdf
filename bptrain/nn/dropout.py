"""torch.nn's dropouts with the backward pass of `bptrain.ops.dropout`."""

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_inplace
from bptrain.ops.dropout import dropout, dropout1d, dropout2d


class Dropout(torch.nn.Dropout):
    """Drop each element with probability p; `inplace` is not offered."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """Return input, in training with elements dropped."""
        return dropout(input, self.p, self.training)


class Dropout1d(torch.nn.Dropout1d):
    """Drop each channel of a line with probability p; `inplace` is not offered."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """Return input [N, C, W] or [C, W], in training with channels dropped."""
        return dropout1d(input, self.p, self.training)


class Dropout2d(torch.nn.Dropout2d):
    """Drop each channel of a plane with probability p; `inplace` is not offered."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        refuse_inplace(inplace)
        super().__init__(p)

    def forward(self, input: Tensor) -> Tensor:
        """Return input [N, C, H, W], in training with channels dropped."""
        return dropout2d(input, self.p, self.training)
