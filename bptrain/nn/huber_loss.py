"""torch.nn.HuberLoss and SmoothL1Loss with the backward pass of `bptrain.ops.huber_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.huber_loss import huber_loss, smooth_l1_loss
from bptrain.ops.reduction import Reduction


class HuberLoss(torch.nn.HuberLoss):
    """Squared error below delta, linear beyond."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return huber_loss(input, target, cast("Reduction", self.reduction), self.delta)


class SmoothL1Loss(torch.nn.SmoothL1Loss):
    """Absolute error, quadratic below beta."""

    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(reduction=reduction, beta=beta)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return smooth_l1_loss(input, target, cast("Reduction", self.reduction), self.beta)
