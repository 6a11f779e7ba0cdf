"""torch.nn.TripletMarginLoss with the backward pass of `bptrain.ops.triplet_margin_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.reduction import Reduction
from bptrain.ops.triplet_margin_loss import triplet_margin_loss


class TripletMarginLoss(torch.nn.TripletMarginLoss):
    """Moves an anchor closer to the positive than to the negative, by a margin."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(margin=margin, p=p, eps=eps, swap=swap, reduction=reduction)

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the loss of vectors [..., D]: a scalar, or [...] for reduction 'none'."""
        return triplet_margin_loss(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.eps,
            self.swap,
            cast("Reduction", self.reduction),
        )
