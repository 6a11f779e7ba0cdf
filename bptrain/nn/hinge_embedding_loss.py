"""torch.nn.HingeEmbeddingLoss with the backward pass of `bptrain.ops.hinge_embedding_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.hinge_embedding_loss import hinge_embedding_loss
from bptrain.ops.reduction import Reduction


class HingeEmbeddingLoss(torch.nn.HingeEmbeddingLoss):
    """Decreases the distances of similar pairs, and increases others up to a margin."""

    def __init__(
        self,
        margin: float = 1.0,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(margin=margin, reduction=reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of distances against labels 1 or -1."""
        return hinge_embedding_loss(input, target, self.margin, cast("Reduction", self.reduction))
