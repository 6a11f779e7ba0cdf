"""torch.nn.CosineEmbeddingLoss with the backward pass of `bptrain.ops.cosine_embedding_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.cosine_embedding_loss import cosine_embedding_loss
from bptrain.ops.reduction import Reduction


class CosineEmbeddingLoss(torch.nn.CosineEmbeddingLoss):
    """Aligns similar pairs of vectors, and separates others by a margin."""

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
        """Return the loss of pairs [N, D] against labels [N], 1 or -1."""
        return cosine_embedding_loss(
            input1, input2, target, self.margin, cast("Reduction", self.reduction)
        )
