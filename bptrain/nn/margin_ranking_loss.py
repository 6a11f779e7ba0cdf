"""torch.nn.MarginRankingLoss with the backward pass of `bptrain.ops.margin_ranking_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.margin_ranking_loss import margin_ranking_loss
from bptrain.ops.reduction import Reduction


class MarginRankingLoss(torch.nn.MarginRankingLoss):
    """Ranks one score above the other by a margin."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(margin=margin, reduction=reduction)

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Return the loss of scores against labels: 1 where input1 should be higher, else -1."""
        return margin_ranking_loss(
            input1, input2, target, self.margin, cast("Reduction", self.reduction)
        )
