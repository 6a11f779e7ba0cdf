"""Negative log-likelihood of counts t under a Poisson distribution of rate x, or e^x.

Shapes     x the log of the rate, or the rate; t counts: the same shape, M elements
Forward    l_m = e^x_m - t_m x_m                    log_input: x is the logarithm of the rate
           l_m = x_m - t_m log(x_m + eps)           else: x is the rate itself
           with full, where t_m > 1, Stirling's approximation of log t! is added:
           t log t - t + log(2 pi t) / 2
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = (e^x - t) l'                 because dl/dx = e^x - t: the rate less the count
    x' = (1 - t / (x + eps)) l'       for a rate x, because d log(x + eps)/dx = 1 / (x + eps)
    t' = -x l'                        because l is linear in t; for a rate, -log(x + eps) l'
    t' += (log t + 1 / (2t)) l'       with full where t > 1, because the slopes of t log t - t and
                                      of log(t) / 2 are log t and 1 / (2t)
Keeps      x, and t unless t' alone is wanted and not full; the rate e^x is made again
Cost       3M flops and M exponentials or logarithms each way
Source     derived here. With full torch's t' is NaN at t = 0; here no term of Stirling's is there
"""

from math import pi
from typing import Any, NamedTuple

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


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    t: bool


class Options(NamedTuple):
    """The constants of one call."""

    log_input: bool
    full: bool
    eps: float
    reduction: Reduction


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    t: Tensor | None  # if x' is wanted, or t' with full


def forward(x: Tensor, t: Tensor, options: Options) -> Tensor:
    """Return L in float32 or wider."""
    x, t = widened(x, t)
    if options.log_input:
        losses = x.exp().addcmul_(t, x, value=-1)
    else:
        losses = x - t * (x + options.eps).log_()
    if options.full:
        stirling = t * t.log() - t + (2 * pi * t).log_().mul_(0.5)
        losses += torch.where(t > 1, stirling, 0)
    return reduced(losses, options.reduction, losses.numel())


def backward(
    grad_loss: Tensor, saved: Saved, options: Options, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not wanted."""
    (x,) = widened(saved.x)
    t = saved.t
    grad_losses = spread(grad_loss, options.reduction, x.numel())
    grad_x = grad_t = None
    if needs.x and t is not None:
        slope = x.exp().sub_(t) if options.log_input else 1 - t / (x + options.eps)
        grad_x = slope.mul_(grad_losses)
    if needs.t:
        slope = -x if options.log_input else (x + options.eps).log_().neg_()
        if options.full and t is not None:
            slope += torch.where(t > 1, t.log() + 0.5 / t, 0)
        grad_t = slope.mul_(grad_losses)
    return grad_x, grad_t


class PoissonNLLLossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, options: Options) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs, ctx.options = Needs(*ctx.needs_input_grad[:2]), options
        ctx.save_for_backward(*Saved(x, t if ctx.needs.x or options.full else None))
        return forward(x, t, options)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        return *backward(grad_loss, Saved(*ctx.saved_tensors), ctx.options, ctx.needs), None


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the negative log-likelihood of counts `target` under Poisson rates.

    `input` holds the rates, or their logarithms with `log_input`; `eps` keeps the logarithm of a
    rate of 0 finite. Raises ValueError where the shapes differ, which torch would broadcast.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    options = Options(log_input, full, eps, reduction)
    loss: Tensor = PoissonNLLLossFunction.apply(input, target, options)
    return loss
