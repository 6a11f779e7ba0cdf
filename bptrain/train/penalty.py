"""The L1 penalty: l1 |w| for every weight, which pulls each towards 0 by the same force.

Gradient   l1 sign(w): the derivative of l1 |w|, and at w = 0, where there is none, the
           subgradient 0, because sign(0) = 0: a weight at rest there is not moved
Left out   biases and the scales and shifts of normalizations, which have one axis or none: they
           do not multiply a signal's many inputs, and a pull on them buys no sparseness

As with the optimizer's weight decay, the loss that is shown is without the penalty, and so are
the gradient norms and what clipping acts on, if it is added after them. Unlike it, the pull goes
through the optimizer's momentum and step sizes, as all of the gradient. A step crosses 0 rather
than landing on it: weights become small, few of them become 0.
Source: Tibshirani 1996, "Regression shrinkage and selection via the lasso".
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def add_l1_gradients(parameters: Iterable[nn.Parameter], l1: float) -> None:
    """Add l1 sign(w) to the gradient of every weight, in place.

    Call it after the backward pass and after clipping, before the update. A parameter without a
    gradient is one that the step does not use; it is not updated, and so not penalized.
    """
    weights: list[Tensor] = [p for p in parameters if p.dim() > 1 and p.grad is not None]
    if weights:
        grads = [p.grad for p in weights if p.grad is not None]
        torch._foreach_add_(grads, torch._foreach_sign(weights), alpha=l1)
