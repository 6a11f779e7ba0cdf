"""torch.nn.L1Loss with the backward pass of `bptrain.ops.l1_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.l1_loss import l1_loss
from bptrain.ops.reduction import Reduction


class L1Loss(torch.nn.L1Loss):
    """Absolute error of input against a target of the same shape."""

    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return l1_loss(input, target, cast("Reduction", self.reduction))
