"""Margin ranking loss: a should exceed b by a margin where y = 1, and b exceed a where y = -1.

Shapes     a, b scores, y labels 1 or -1: the same shape, M elements
Forward    l_m = max(0, margin - y_m (a_m - b_m))
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing a' for dL/da, given L'; l' is L', or L' / M for the mean. All are 0 where
           margin - y (a - b) <= 0: at the kink, 0 itself, as in torch
    a' = -y l'           because dl/da = -y
    b' = y l'            because dl/db = y
    y' = (b - a) l'      because dl/dy = b - a
Saves      y where the loss is active and 0 elsewhere (if a' or b' is needed); the same of b - a
           (if y' is needed)
Cost       4M flops forward, M backward for each gradient
Source     derived here
"""

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


class Needs(NamedTuple):
    """Which gradients are needed."""

    a: bool
    b: bool
    y: bool


class Saved(NamedTuple):
    """What the backward pass reads; y and gap are 0 where the loss is not active."""

    y: Tensor | None  # if a' or b' is needed
    gap: Tensor | None  # b - a, if y' is needed
    M: int
    reduction: Reduction


def forward(
    a: Tensor, b: Tensor, y: Tensor, margin: float, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    a, b = widened(a, b)
    gap = b - a
    losses = gap * y + margin
    active = losses > 0
    M = losses.numel()
    saved_y = torch.where(active, y, 0) if needs.a or needs.b else None
    saved_gap = torch.where(active, gap, 0) if needs.y else None
    return reduced(losses.clamp_min(0), reduction, M), Saved(saved_y, saved_gap, M, reduction)


def backward(
    grad_loss: Tensor, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return a', b' and y', each None if it is not needed."""
    y, gap, M, reduction = saved
    grad_losses = grad_of_elements(grad_loss, reduction, M)
    grad_a = grad_b = grad_y = None
    if y is not None:
        (y,) = widened(y)
        grad_a = y * -grad_losses if needs.a else None
        grad_b = y * grad_losses if needs.b else None
    if gap is not None:
        grad_y = gap * grad_losses
    return grad_a, grad_b, grad_y


margin_ranking_loss_function = operation(forward, backward, precision=float32_loss("cpu", "cuda"))


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
    return margin_ranking_loss_function(input1, input2, target, margin, reduction)
