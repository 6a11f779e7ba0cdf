"""torch.nn.BCELoss with the backward pass of `bptrain.ops.binary_cross_entropy`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.binary_cross_entropy import binary_cross_entropy
from bptrain.ops.reduction import Reduction


class BCELoss(torch.nn.BCELoss):
    """Cross-entropy of probabilities against labels from 0 to 1."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(weight=weight, reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return binary_cross_entropy(input, target, self.weight, cast("Reduction", self.reduction))
