"""Hinge embedding loss: a distance x shrinks for similar pairs, and grows to a margin for others.

Shapes     x distances, y labels 1 (similar) or -1 (dissimilar): the same shape, M elements
Forward    l_m = x_m where y = 1,   max(0, margin - x_m) where y = -1
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = s l'     because dl/dx = s: 1 where y = 1, -1 where y = -1 and x < margin, else 0; at the
                  kink x = margin 0 is taken, as in torch
Keeps      s in one byte an element, where x and y take eight
Cost       about 4 comparisons an element forward, M flops backward
Source     derived here; a label other than 1 and -1 counts both parts, as in torch
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.reduction import (
    Reduction,
    checked_constant,
    checked_reduction,
    checked_shapes,
    reduced,
    spread,
    widened,
)


class Saved(NamedTuple):
    """What the backward pass reads."""

    s: Tensor  # int8


def forward(
    x: Tensor, y: Tensor, margin: float, reduction: Reduction, needs_x: bool
) -> tuple[Tensor, Saved | None]:
    """Return L in float32 or wider, and what the backward pass reads if x' is wanted."""
    (x,) = widened(x)
    gap = margin - x
    similar, dissimilar = y != -1, y != 1
    losses = torch.where(similar, x, 0) + torch.where(dissimilar, gap.clamp_min(0), 0)
    loss = reduced(losses, reduction, losses.numel())
    if not needs_x:
        return loss, None
    pushes = (gap > 0).logical_and_(dissimilar)
    return loss, Saved(similar.view(torch.int8) - pushes.view(torch.int8))


def backward(grad_loss: Tensor, saved: Saved, reduction: Reduction) -> Tensor:
    """Return x'."""
    return saved.s * spread(grad_loss, reduction, saved.s.numel())


class HingeEmbeddingLossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, y: Tensor, margin: float, reduction: Reduction) -> Tensor:
        """Run the forward pass and keep the slopes."""
        ctx.reduction = reduction
        loss, saved = forward(x, y, margin, reduction, ctx.needs_input_grad[0])
        if saved is not None:
            ctx.save_for_backward(*saved)
        return loss

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None, None]:
        """Run the backward pass."""
        return backward(grad_loss, Saved(*ctx.saved_tensors), ctx.reduction), None, None, None


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Return `input` where `target` is 1, and max(0, margin - input) where it is -1.

    Raises ValueError where the shapes differ, which torch would broadcast.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    checked_constant(target=target)
    loss: Tensor = HingeEmbeddingLossFunction.apply(input, target, margin, reduction)
    return loss
