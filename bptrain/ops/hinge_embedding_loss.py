"""Hinge embedding loss: a distance x shrinks for similar pairs, and grows to a margin for others.

Shapes     x distances, y labels 1 (similar) or -1 (dissimilar): the same shape, M elements
Forward    l_m = x_m where y = 1,   max(0, margin - x_m) where y = -1
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = s l'     because dl/dx = s: 1 where y = 1, -1 where y = -1 and x < margin, else 0; at the
                  kink x = margin 0 is taken, as in torch
Saves      s in one byte an element, where x and y take eight
Cost       about 6 comparisons an element forward, M flops backward
Source     derived here; a label other than 1 and -1 counts both parts, as in torch
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_constant,
    checked_reduction,
    checked_shapes,
    grad_of_elements,
    reduced,
    widened,
)


class Saved(NamedTuple):
    """What the backward pass reads."""

    s: Tensor  # int8
    reduction: Reduction


def forward(x: Tensor, y: Tensor, margin: float, reduction: Reduction) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    (x,) = widened(x)
    gap = margin - x
    similar, dissimilar = y != -1, y != 1
    losses = torch.where(similar, x, 0) + torch.where(dissimilar, gap.clamp_min(0), 0)
    within_margin = (gap > 0).logical_and_(dissimilar)
    s = similar.view(torch.int8) - within_margin.view(torch.int8)
    return reduced(losses, reduction, losses.numel()), Saved(s, reduction)


def backward(grad_loss: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    s, reduction = saved
    return s * grad_of_elements(grad_loss, reduction, s.numel())


hinge_embedding_loss_function = operation(forward, backward, precision=float32_loss("cpu", "cuda"))


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Return `input` where `target` is 1, and max(0, margin - input) where it is -1.

    Raises ValueError where the shapes differ, which torch would broadcast.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    checked_constant(target=target)
    return hinge_embedding_loss_function(input, target, margin, reduction)
