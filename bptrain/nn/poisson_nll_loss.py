"""torch.nn.PoissonNLLLoss with the backward pass of `bptrain.ops.poisson_nll_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.nn.legacy import refuse_legacy_reduction
from bptrain.ops.poisson_nll_loss import poisson_nll_loss
from bptrain.ops.reduction import Reduction


class PoissonNLLLoss(torch.nn.PoissonNLLLoss):
    """Negative log-likelihood of counts under Poisson rates, or their logarithms."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: None = None,
        eps: float = 1e-8,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        refuse_legacy_reduction(size_average, reduce)
        super().__init__(log_input=log_input, full=full, eps=eps, reduction=reduction)

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of counts: a scalar, or the shape of log_input for reduction 'none'."""
        return poisson_nll_loss(
            log_input,
            target,
            self.log_input,
            self.full,
            self.eps,
            cast("Reduction", self.reduction),
        )
