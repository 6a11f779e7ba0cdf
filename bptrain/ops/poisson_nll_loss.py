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
Saves      x, and t (if x' is needed, or with full); the rate e^x is computed again
Cost       3M flops and M exponentials or logarithms each way
Source     derived here. With full torch's t' is NaN at t = 0; here no term of Stirling's is there
"""

from math import pi
from typing import NamedTuple

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
    widened,
)
from bptrain.ops.second_derivatives import overwritable, own_product


class Needs(NamedTuple):
    """Which gradients are needed."""

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
    t: Tensor | None  # if x' is needed, or t' with full
    options: Options


def forward(x: Tensor, t: Tensor, options: Options, needs: Needs) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    saved = Saved(x, t if needs.x or options.full else None, options)
    x, t = widened(x, t)
    if options.log_input:
        losses = x.exp().addcmul_(t, x, value=-1)
    else:
        losses = x - t * (x + options.eps).log_()
    if options.full:
        stirling = t * t.log() - t + (2 * pi * t).log_().mul_(0.5)
        losses += torch.where(t > 1, stirling, 0)
    return reduced(losses, options.reduction, losses.numel()), saved


def backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not needed."""
    x, t, options = saved
    (x,) = widened(x)
    grad_losses = grad_of_elements(grad_loss, options.reduction, x.numel())
    grad_x = grad_t = None
    if needs.x and t is not None:
        slope = overwritable(x.exp()).sub_(t) if options.log_input else 1 - t / (x + options.eps)
        grad_x = own_product(slope, grad_losses)
    if needs.t:
        slope = -x if options.log_input else (x + options.eps).log_().neg_()
        if options.full and t is not None:
            slope += torch.where(t > 1, t.log() + 0.5 / t, 0)
        grad_t = own_product(slope, grad_losses)
    return grad_x, grad_t


poisson_nll_loss_function = operation(forward, backward, precision=float32_loss("cpu", "cuda"))


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
    return poisson_nll_loss_function(input, target, options)
