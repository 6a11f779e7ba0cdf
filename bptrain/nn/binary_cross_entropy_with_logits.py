"""torch.nn.BCEWithLogitsLoss, backward pass in `bptrain.ops.binary_cross_entropy_with_logits`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from bptrain.ops.reduction import Reduction


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """Sigmoid and cross-entropy against labels from 0 to 1, in one step."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits: a scalar, or the shape of input for reduction 'none'."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, cast("Reduction", self.reduction), self.pos_weight
        )
