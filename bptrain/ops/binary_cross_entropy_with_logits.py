"""Binary cross-entropy of sigmoid(x), both in one step: no logarithm of a rounded 0.

Shapes     x logits, t labels: the same shape, M elements; w weight and q weight of the positive
           label broadcast to it
Forward    p_m = sigmoid(x_m)
           l_m = -w_m (q_m t_m log p_m + (1 - t_m) log(1 - p_m))
               = w_m ((1 - t_m) x_m - (1 + (q_m - 1) t_m) log p_m)
                 because 1 - p = e^-x p, so that log(1 - p) = log p - x
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = w l' (p - t)                            without q (q = 1), because d log p/dx = 1 - p
    x' = w l' ((1 + (q - 1) t) p - q t)          because (1 - t) + (1 + (q - 1) t) (p - 1) is that
    t' = w l' ((1 - q) log p - x)                because l is linear in t
Saves      x, t (if x' is needed), w and q: nothing new. The slope p - t would replace x and t by
           one tensor, but t is the caller's, and x may have 16 bits where the slope has 32
Cost       8M flops, M exponentials and logarithms forward; 4M flops, M exponentials backward
Source     derived here
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.memory_order import set_zero
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_broadcast,
    checked_reduction,
    checked_shapes,
    grad_of_elements,
    reduced,
    weighted,
    widened,
)
from bptrain.ops.second_derivatives import overwritable, own_product


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    t: Tensor | None  # if x' is needed
    w: Tensor | None
    q: Tensor | None
    reduction: Reduction


Gradients = tuple[Tensor | None, Tensor | None]


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, q: Tensor | None, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    saved = Saved(x, t if needs.x else None, w, q, reduction)
    x, t = widened(x, t)
    return _loss(_log_sigmoid(x), x, t, w, q, reduction), saved


def fused_forward(
    x: Tensor, t: Tensor, w: Tensor | None, q: Tensor | None, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L with log p from one kernel."""
    saved = Saved(x, t if needs.x else None, w, q, reduction)
    x, t = widened(x, t)
    return _loss(_fused_log_sigmoid(x), x, t, w, q, reduction), saved


def _loss(
    log_p: Tensor,
    x: Tensor,
    t: Tensor,
    w: Tensor | None,
    q: Tensor | None,
    reduction: Reduction,
) -> Tensor:
    """Return L = w ((1 - t) x - (1 + (q - 1) t) log p), reduced."""
    if q is not None:
        log_p = log_p * (1 + (q - 1) * t)
    losses = torch.addcmul(x, x, t, value=-1).sub_(log_p)
    if q is not None:
        set_zero(losses, _without_weight(t, q))
    return reduced(weighted(losses, w), reduction, losses.numel())


def _without_weight(t: Tensor, q: Tensor) -> Tensor:
    """Return which elements do not count: those whose label is 1 where it has the weight q = 0.

    They are set to 0, as a product of 0 with an infinite x would be NaN.
    """
    return (q == 0) & (t == 1)


def _log_sigmoid(x: Tensor) -> Tensor:
    """Return log p = min(x, 0) - log(1 + e^-|x|), whose exponential cannot overflow."""
    return x.clamp_max(0) - x.abs().neg().exp().log1p()


def _fused_log_sigmoid(x: Tensor) -> Tensor:
    """Return log p from one kernel."""
    log_p: Tensor = torch.ops.aten.log_sigmoid(x)
    return log_p


def backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' and t', each None if it is not needed."""
    return _gradients(_log_sigmoid, grad_loss, saved, needs)


def fused_backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' and t' with log p from one kernel."""
    return _gradients(_fused_log_sigmoid, grad_loss, saved, needs)


def _gradients(
    log_sigmoid: Callable[[Tensor], Tensor], grad_loss: Tensor, saved: Saved, needs: Needs
) -> Gradients:
    """Return the two gradients of the docstring."""
    x, t, w, q, reduction = saved
    grad_losses = grad_of_elements(grad_loss, reduction, x.numel())
    grad_x = grad_t = None
    if needs.x and t is not None:
        wide, t = widened(x, t)
        p = wide.sigmoid()
        slope = overwritable(p).sub_(t) if q is None else p * (1 + (q - 1) * t) - q * t
        grad_x = weighted(own_product(slope, grad_losses), w)
        if q is not None:
            set_zero(grad_x, _without_weight(t, q))
    if needs.t:
        (wide,) = widened(x)
        slope = -wide if q is None else (1 - q) * log_sigmoid(wide) - wide
        grad_t = weighted(slope * grad_losses, w)
    return grad_x, grad_t


binary_cross_entropy_with_logits_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_loss("cpu", "cuda"),
)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy of sigmoid(`input`) against labels `target`, 0 to 1.

    `weight` and `pos_weight`, which multiplies the loss of the label 1, broadcast to the shape of
    input. Raises ValueError for wrong shapes or options.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    checked_broadcast(input, weight=weight, pos_weight=pos_weight)
    return binary_cross_entropy_with_logits_function(input, target, weight, pos_weight, reduction)
