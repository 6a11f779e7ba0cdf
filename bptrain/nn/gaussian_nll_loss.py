"""torch.nn.GaussianNLLLoss with the backward pass of `bptrain.ops.gaussian_nll_loss`."""

from typing import cast

import torch
from torch import Tensor

from bptrain.ops.gaussian_nll_loss import gaussian_nll_loss
from bptrain.ops.reduction import Reduction


class GaussianNLLLoss(torch.nn.GaussianNLLLoss):
    """Negative log-likelihood of a target under normal distributions of given variance."""

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """Return the loss: a scalar, or the shape of input for reduction 'none'."""
        return gaussian_nll_loss(
            input, target, var, self.full, self.eps, cast("Reduction", self.reduction)
        )
