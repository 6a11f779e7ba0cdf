"""torch.nn.NLLLoss with the backward pass of `bptrain.ops.nll_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.nll_loss import nll_loss
from bptrain.ops.reduction import Reduction


class NLLLoss(torch.nn.NLLLoss):
    """Negative log-likelihood of class indices under log-probabilities."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of log-probabilities [N, K, ...] against class indices [N, ...]."""
        return nll_loss(
            input, target, self.weight, self.ignore_index, cast("Reduction", self.reduction)
        )
