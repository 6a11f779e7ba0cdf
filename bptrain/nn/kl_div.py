"""torch.nn.KLDivLoss with the backward pass of `bptrain.ops.kl_div`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.kl_div import ReductionOrBatchmean, kl_div


class KLDivLoss(torch.nn.KLDivLoss):
    """Kullback-Leibler divergence of target probabilities from predicted log-probabilities."""

    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(reduction=reduction, log_target=log_target)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return kl_div(input, target, cast("ReductionOrBatchmean", self.reduction), self.log_target)
