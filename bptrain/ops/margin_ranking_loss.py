"""Margin ranking loss: a should exceed b by a margin where y = 1, and b exceed a where y = -1.

Shapes     a, b scores, y labels 1 or -1: the same shape, M elements
Forward    l_m = max(0, margin - y_m (a_m - b_m))
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing a' for dL/da, given L'; l' is L', or L' / M for the mean. All are 0 where
           margin - y (a - b) <= 0: at the kink, 0 itself, as in torch
    a' = -y l'           because dl/da = -y
    b' = y l'            because dl/db = y
    y' = (b - a) l'      because dl/dy = b - a
  For second derivatives what is saved is an output too, Y = y and D = b - a, 0 where the loss is
  not active; where it is,
    a' = a' - D'         because dD/da = -1
    b' = b' + D'         because dD/db = 1
    y' = y' + Y'         because dY/dy = 1
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
    with_more,
)


class Needs(NamedTuple):
    """Which gradients are needed."""

    a: bool
    b: bool
    y: bool


Outputs = tuple[Tensor, Tensor | None, Tensor | None]  # L, Y and D


class Saved(NamedTuple):
    """What the backward pass reads; y and gap are 0 where the loss is not active."""

    y: Tensor | None  # if a' or b' is needed
    gap: Tensor | None  # b - a, if y' is needed
    M: int
    reduction: Reduction


def forward(
    a: Tensor, b: Tensor, y: Tensor, margin: float, reduction: Reduction, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return L in float32 or wider, and the Y and D that are saved."""
    a, b = widened(a, b)
    gap = b - a
    losses = gap * y + margin
    active = losses > 0
    M = losses.numel()
    saved_y = torch.where(active, y, 0) if needs.a or needs.b else None
    saved_gap = torch.where(active, gap, 0) if needs.y else None
    loss = reduced(losses.clamp_min(0), reduction, M)
    return (loss, saved_y, saved_gap), Saved(saved_y, saved_gap, M, reduction)


def backward(
    grad_loss: Tensor,
    more_y: Tensor | None,
    more_gap: Tensor | None,
    saved: Saved,
    needs: Needs,
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
    if y is not None and gap is not None and more_gap is not None:
        more_gap = torch.where((y != 0) | (gap != 0), more_gap, 0)
        grad_a, grad_b = with_more(grad_a, -more_gap), with_more(grad_b, more_gap)
    if y is not None and gap is not None and more_y is not None:
        grad_y = with_more(grad_y, torch.where((y != 0) | (gap != 0), more_y, 0))
    return grad_a, grad_b, grad_y


margin_ranking_loss_function = operation(
    forward, backward, precision=float32_loss("cpu", "cuda"), optional_gradients=(1, 2)
)


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
    loss, *_ = margin_ranking_loss_function(input1, input2, target, margin, reduction)
    return loss
