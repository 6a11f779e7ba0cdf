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
Keeps      x and t, w and q: nothing new is held. The slope p - t would replace x and t by one
           tensor, but t is the caller's, and x may be in 16 bits, of which the slope is made in 32
Cost       8M flops, M exponentials and logarithms forward; 4M flops, M exponentials backward
Source     derived here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.reduction import (
    Reduction,
    checked_broadcast,
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


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    t: Tensor | None  # if x' is wanted
    w: Tensor | None
    q: Tensor | None


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, q: Tensor | None, reduction: Reduction
) -> Tensor:
    """Return L in float32 or wider."""
    x, t = widened(x, t)
    log_p = _log_sigmoid(x)
    if q is not None:
        log_p = log_p * (1 + (q - 1) * t)
    losses = torch.addcmul(x, x, t, value=-1).sub_(log_p)
    if w is not None:
        losses = losses * w
    return reduced(losses, reduction, losses.numel())


def _log_sigmoid(x: Tensor) -> Tensor:
    """Return log p = min(x, 0) - log(1 + e^-|x|), whose exponential cannot overflow."""
    log_p: Tensor = torch.ops.aten.log_sigmoid(x)
    return log_p


def backward(
    grad_loss: Tensor, saved: Saved, reduction: Reduction, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not wanted."""
    x, t, w, q = saved
    grad_losses = spread(grad_loss, reduction, x.numel())
    if w is not None:
        grad_losses = grad_losses * w
    grad_x = grad_t = None
    if needs.x and t is not None:
        wide, t = widened(x, t)
        p = wide.sigmoid()
        slope = p.sub_(t) if q is None else p * (1 + (q - 1) * t) - q * t
        grad_x = slope.mul_(grad_losses)
    if needs.t:
        (wide,) = widened(x)
        slope = -wide if q is None else (1 - q) * _log_sigmoid(wide) - wide
        grad_t = slope * grad_losses
    return grad_x, grad_t


class BinaryCrossEntropyWithLogitsFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(
        ctx: Any,
        x: Tensor,
        t: Tensor,
        w: Tensor | None,
        q: Tensor | None,
        reduction: Reduction,
    ) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs, ctx.reduction = Needs(*ctx.needs_input_grad[:2]), reduction
        ctx.save_for_backward(*Saved(x, t if ctx.needs.x else None, w, q))
        return forward(x, t, w, q, reduction)

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_loss: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        return *backward(grad_loss, saved, ctx.reduction, ctx.needs), None, None, None


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
    loss: Tensor = BinaryCrossEntropyWithLogitsFunction.apply(
        input, target, weight, pos_weight, reduction
    )
    return loss
