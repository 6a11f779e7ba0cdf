"""torch.nn.CrossEntropyLoss with the backward pass of `bptrain.ops.cross_entropy`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.cross_entropy import cross_entropy
from bptrain.ops.reduction import Reduction


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """Softmax and negative log-likelihood of class indices or probabilities, in one step."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits [N, K, ...] against class indices [N, ...] or probabilities."""
        return cross_entropy(
            input,
            target,
            self.weight,
            self.ignore_index,
            cast("Reduction", self.reduction),
            self.label_smoothing,
        )
