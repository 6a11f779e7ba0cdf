"""The L1 penalty l1 |w|, summed over all weights: its gradient has one size, whatever |w| is.

Gradient   l1 sign(w): the derivative of l1 |w|, and at w = 0, where there is none, the
           subgradient 0, because sign(0) = 0: a weight that is 0 stays 0
Left out   biases and the scales and shifts of normalizations, which have at most one axis: they
           connect no inputs to outputs, so making them 0 gives no sparse connections

The logged loss is without the penalty, as it is without weight decay. The gradient norms and
clipping do not see it either, because it is added after them. Unlike decoupled weight decay, the
penalty's gradient passes through the optimizer's momentum and step sizes. A step usually crosses
0 instead of ending on it: weights become small, but few become exactly 0.
Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso".
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def add_l1_gradients(parameters: Iterable[nn.Parameter], l1: float) -> None:
    """Add l1 sign(w) to the gradient of every weight, in place.

    Call it after the backward pass and after clipping, before the update. A parameter without a
    gradient was not used in the step; it is not updated, and so not penalized.
    """
    weights: list[Tensor] = [p for p in parameters if p.dim() > 1 and p.grad is not None]
    if weights:
        grads = [p.grad for p in weights if p.grad is not None]
        torch._foreach_add_(grads, torch._foreach_sign(weights), alpha=l1)
