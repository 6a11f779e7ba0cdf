"""Kullback-Leibler divergence of a target from a prediction that is given as its logarithm.

Shapes     x log of the prediction, t target: the same shape, M elements
Forward    l_m = t_m (log t_m - x_m)           0 where t = 0, the limit of t log t
           l_m = e^t_m (t_m - x_m)             with log_target: t is given as its logarithm, too
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / A  (A = M for 'mean', N for 'batchmean')
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for a mean
    x' = -t l'                       because dl/dx = -t
    t' = (log t + 1 - x) l'          because d(t log t)/dt = log t + 1
    x' = -e^t l'                     with log_target, because the target itself is e^t
    t' = e^t (t + 1 - x) l'          with log_target, because d(t e^t)/dt = e^t (t + 1)
Keeps      t; x too, if t' is wanted
Cost       3M flops and M logarithms or exponentials forward, M flops backward
Source     derived here. At t = 0 the slope t' is -infinity, where torch returns NaN
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.reduction import (
    Reduction,
    checked_reduction,
    checked_shapes,
    reduced,
    spread,
    widened,
)

ReductionOrBatchmean = Reduction | Literal["batchmean"]


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    t: bool


class Options(NamedTuple):
    """The constants of one call."""

    reduction: Reduction
    A: int  # what a mean divides by
    log_target: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    t: Tensor
    x: Tensor | None  # if t' is wanted


def forward(x: Tensor, t: Tensor, options: Options) -> Tensor:
    """Return L in float32 or wider."""
    x, t = widened(x, t)
    if options.log_target:
        losses = (t - x).mul_(t.exp())
    else:
        losses = torch.xlogy(t, t).addcmul_(t, x, value=-1)
    return reduced(losses, options.reduction, options.A)


def backward(
    grad_loss: Tensor, saved: Saved, options: Options, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not wanted."""
    (t,) = widened(saved.t)
    grad_losses = spread(grad_loss, options.reduction, options.A)
    probability = t.exp() if options.log_target else t
    grad_x = grad_t = None
    if needs.x:
        grad_x = probability * -grad_losses
    if saved.x is not None:
        if options.log_target:
            slope = (t + 1 - saved.x).mul_(probability)
        else:
            slope = t.log().add_(1) - saved.x
        grad_t = slope * grad_losses
    return grad_x, grad_t


class KLDivFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, options: Options) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs, ctx.options = Needs(*ctx.needs_input_grad[:2]), options
        ctx.save_for_backward(*Saved(t, x if ctx.needs.t else None))
        return forward(x, t, options)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        return *backward(grad_loss, Saved(*ctx.saved_tensors), ctx.options, ctx.needs), None


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
        options = Options("mean", input.shape[0] if input.dim() else 1, log_target)
    else:
        options = Options(reduction, input.numel(), log_target)
    loss: Tensor = KLDivFunction.apply(input, target, options)
    return loss
