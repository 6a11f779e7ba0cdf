"""Margin ranking loss: a should exceed b by a margin where y = 1, and b exceed a where y = -1.

Shapes     a, b scores, y labels 1 or -1: the same shape, M elements
Forward    l_m = max(0, margin - y_m (a_m - b_m))
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing a' for dL/da, given L'; l' is L', or L' / M for the mean. All are 0 where
           margin - y (a - b) <= 0: at the kink, 0 itself, as in torch
    a' = -y l'           because dl/da = -y
    b' = y l'            because dl/db = y
    y' = (b - a) l'      because dl/dy = b - a
Keeps      y where the loss is active and 0 elsewhere; the same of b - a, if y' is wanted
Cost       4M flops forward, M backward for each gradient
Source     derived here
"""

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

    a: bool
    b: bool
    y: bool


class Saved(NamedTuple):
    """What the backward pass reads; each is 0 where the loss is not active."""

    y: Tensor | None  # if a' or b' is wanted
    gap: Tensor | None  # b - a, if y' is wanted


def forward(
    a: Tensor, b: Tensor, y: Tensor, margin: float, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider, and what the backward pass reads."""
    a, b = widened(a, b)
    gap = b - a
    losses = gap * y + margin
    active = losses > 0
    loss = reduced(losses.clamp_min(0), reduction, losses.numel())
    return loss, Saved(
        torch.where(active, y, 0) if needs.a or needs.b else None,
        torch.where(active, gap, 0) if needs.y else None,
    )


def backward(
    grad_loss: Tensor, saved: Saved, reduction: Reduction, needs: Needs, M: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return a', b' and y', each None if it is not wanted."""
    y, gap = saved
    grad_losses = spread(grad_loss, reduction, M)
    grad_a = grad_b = grad_y = None
    if y is not None:
        (y,) = widened(y)
        grad_a = y * -grad_losses if needs.a else None
        grad_b = y * grad_losses if needs.b else None
    if gap is not None:
        grad_y = gap * grad_losses
    return grad_a, grad_b, grad_y


class MarginRankingLossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(
        ctx: Any, a: Tensor, b: Tensor, y: Tensor, margin: float, reduction: Reduction
    ) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs, ctx.reduction = Needs(*ctx.needs_input_grad[:3]), reduction
        ctx.M = a.numel()
        loss, saved = forward(a, b, y, margin, reduction, ctx.needs)
        ctx.save_for_backward(*saved)
        return loss

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_loss: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        return *backward(grad_loss, saved, ctx.reduction, ctx.needs, ctx.M), None, None


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return max(0, margin - target (input1 - input2)), `target` being 1 or -1.

    Raises ValueError where the shapes differ, which torch would broadcast.
    """
    checked_reduction(reduction)
    checked_shapes(input1=input1, input2=input2, target=target)
    loss: Tensor = MarginRankingLossFunction.apply(input1, input2, target, margin, reduction)
    return loss
