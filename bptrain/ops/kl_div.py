"""Kullback-Leibler divergence of a target from a prediction that is given as its logarithm.

Shapes     x log of the prediction, t target: the same shape, M elements
Forward    l_m = t_m (log t_m - x_m)           0 where t = 0, the limit of t log t, whatever x is
           l_m = e^t_m (t_m - x_m)             with log_target: t is given as its logarithm, too
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / A  (A = M for 'mean', N for 'batchmean')
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for a mean
    x' = -t l'                       because dl/dx = -t
    t' = (log t + 1 - x) l'          because d(t log t)/dt = log t + 1
    x' = -e^t l'                     with log_target, because the target itself is e^t
    t' = e^t (t + 1 - x) l'          with log_target, because d(t e^t)/dt = e^t (t + 1)
Saves      t; x too, if t' is needed
Cost       3M flops and M logarithms or exponentials forward, M flops backward
Source     derived here. At t = 0 the slope t' is -infinity, where torch returns NaN
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_reduction,
    checked_shapes,
    grad_of_elements,
    reduced,
    weighted,
    widened,
)

ReductionOrBatchmean = Reduction | Literal["batchmean"]


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    t: Tensor
    x: Tensor | None  # if t' is needed
    log_target: bool
    reduction: Reduction
    A: int  # what a mean divides by


def forward(
    x: Tensor, t: Tensor, log_target: bool, reduction: Reduction, A: int, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    saved = Saved(t, x if needs.t else None, log_target, reduction, A)
    x, t = widened(x, t)
    # what has the probability 0 counts 0, whatever the prediction: 0 times infinity would be NaN
    losses = weighted(t - x, t.exp()) if log_target else torch.xlogy(t, t) - weighted(x, t)
    return reduced(losses, reduction, A), saved


def backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not needed."""
    t, x, log_target, reduction, A = saved
    (t,) = widened(t)
    grad_losses = grad_of_elements(grad_loss, reduction, A)
    probability = t.exp() if log_target else t
    grad_x = grad_t = None
    if needs.x:
        grad_x = probability * -grad_losses
    if x is not None:
        slope = weighted(t + 1 - x, probability) if log_target else t.log().add_(1) - x
        grad_t = slope * grad_losses
    return grad_x, grad_t


kl_div_function = operation(forward, backward, precision=float32_loss("cpu", "cuda"))


def kl_div(
    input: Tensor,
    target: Tensor,
    reduction: ReductionOrBatchmean = "mean",
    log_target: bool = False,
) -> Tensor:
    """Return the divergence of `target` from the prediction whose logarithm is `input`.

    'batchmean', the sum divided by the size of the first axis, is the divergence as mathematics
    defines it, of each sample; 'mean' divides by the number of elements. Raises ValueError where
    the shapes differ.
    """
    checked_reduction(reduction, "batchmean")
    checked_shapes(input=input, target=target)
    if reduction == "batchmean":
        N = input.shape[0] if input.dim() else 1
        return kl_div_function(input, target, log_target, "mean", N)
    return kl_div_function(input, target, log_target, reduction, input.numel())
