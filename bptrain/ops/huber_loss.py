"""Huber's loss: squared for small errors and absolute for large ones; smooth L1 is a multiple.

Shapes     x prediction, t target, w weight or None: the same shape, M elements; d = x - t
Forward    c_m = min(max(d_m, -delta), delta)         the error, clipped
           e_m = c_m (d_m - c_m / 2)             d^2 / 2 where c = d, else delta (|d| - delta / 2)
           l_m = w_m e_m                         w_m = 1 without weight
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = c w l'        because de/dd = d where c = d, and delta sign d where c is constant; the two
                       meet at |d| = delta, so that there is no kink
    t' = -x'           because x and t enter through their difference alone
    w' = e l'          because dl_m/dw_m = e_m
  For second derivatives c and e are outputs too, if they are saved; their gradients come from x'
  and w':
    d' = c' + c e'     because dc/dd = 1 where |d| < delta (elsewhere 0, and c' counts 0 there) and
                       de/dd = c: added to x', because dd/dx = 1, and subtracted from t'
Smooth L1  l = Huber's l / beta with delta = beta, so that the slope far out is 1; x' is c / beta.
           beta = 0 is the limit |d|: ops/l1_loss.py
Saves      c alone, where saving x and t would take twice the memory: it is the slope itself, so
           that the backward pass is one multiplication; with a weight w (e if w' is needed)
Cost       5M flops forward, 2M backward
Source     Huber 1964, "Robust estimation of a location parameter"; Girshick 2015, "Fast R-CNN",
           equation 3, for smooth L1
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.l1_loss import l1_loss
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
    with_more,
)


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool
    w: bool


class Options(NamedTuple):
    """The constants of one call."""

    reduction: Reduction
    delta: float
    scale: float  # 1 for Huber's loss, 1 / beta for smooth L1


Outputs = tuple[Tensor, Tensor | None, Tensor | None]  # L, c and e


class Saved(NamedTuple):
    """What the backward pass reads."""

    c: Tensor | None  # if x' or t' is needed
    w: Tensor | None  # if x' or t' is needed
    e: Tensor | None  # if w' is needed
    M: int
    options: Options


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, options: Options, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return L, a scalar or for 'none' the shape of x, and the c and e that are saved."""
    x, t = widened(x, t)
    d = x - t
    c = d.clamp(-options.delta, options.delta)
    e = c * (d - c / 2)
    return _loss(e, c if needs.x or needs.t else None, w, options, needs)


def fused_forward(
    x: Tensor, t: Tensor, w: Tensor | None, options: Options, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return the same with e from one kernel."""
    x, t = widened(x, t)
    c = (x - t).clamp_(-options.delta, options.delta) if needs.x or needs.t else None
    # c (d - c / 2) in one pass: 0.9 ms forward and backward for [512, 1024] on one core, where the
    # same out of d and c, pass by pass, takes 1.3
    e: Tensor = torch.ops.aten.huber_loss(x, t, reduction=0, delta=options.delta)
    return _loss(e, c, w, options, needs)


def _loss(
    e: Tensor, c: Tensor | None, w: Tensor | None, options: Options, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return L = w e, scaled and reduced, c and e."""
    if options.scale != 1:
        e.mul_(options.scale)
    loss = reduced(weighted(e, w), options.reduction, e.numel())
    saved_w, saved_e = None if c is None else w, e if needs.w else None
    return (loss, c, saved_e), Saved(c, saved_w, saved_e, e.numel(), options)


def backward(
    grad_loss: Tensor,
    more_c: Tensor | None,
    more_e: Tensor | None,
    saved: Saved,
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x', t' and w', each None if it is not needed."""
    c, w, e, M, options = saved
    grad_losses = grad_of_elements(grad_loss, options.reduction, M)
    grad_x = grad_t = grad_w = None
    if c is not None:
        scaled = grad_losses * options.scale
        more_d = None if more_e is None else options.scale * c * more_e
        if more_c is not None:
            through_c = torch.where(c.abs() < options.delta, more_c, 0)
            more_d = through_c if more_d is None else more_d + through_c
        grad_d = with_more(weighted(c * scaled, w), more_d)
        grad_x = grad_d if needs.x else None
        grad_t = None if grad_d is None or not needs.t else -grad_d
    if e is not None:
        grad_w = e * grad_losses
    return grad_x, grad_t, grad_w


huber_loss_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    precision=float32_loss("cpu", "cuda"),
    optional_gradients=(1, 2),
)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return Huber's loss of `input` against `target`, each times its `weight` if given.

    The mean divides by the number of elements, weighted or not, as in torch. Raises ValueError
    where the shapes differ, which torch would broadcast with a warning, or unless delta > 0.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target, weight=weight)
    if not delta > 0:
        raise ValueError(f"delta is {delta}, expected more than 0")
    options = Options(reduction, delta, 1.0)
    return huber_loss_function(input, target, weight, options)[0]


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: Reduction = "mean", beta: float = 1.0
) -> Tensor:
    """Return (input - target)^2 / (2 beta) where |input - target| < beta, else its size - beta / 2.

    Raises ValueError where the shapes differ, which torch would broadcast with a warning, or
    unless beta >= 0.
    """
    if beta == 0:
        return l1_loss(input, target, reduction)
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    if not beta > 0:
        raise ValueError(f"beta is {beta}, expected at least 0")
    options = Options(reduction, beta, 1 / beta)
    return huber_loss_function(input, target, None, options)[0]
