"""torch.nn.MSELoss with the backward pass of `bptrain.ops.mse_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.mse_loss import mse_loss
from bptrain.ops.reduction import Reduction


class MSELoss(torch.nn.MSELoss):
    """Squared error of input against a target of the same shape."""

    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: str = "mean"
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return mse_loss(input, target, cast("Reduction", self.reduction))
