"""Cosine embedding loss: similar pairs should point the same way, others apart by a margin.

Shapes     a, b [N, D] vectors, y [N] labels 1 or -1; or one pair: [D] and a scalar
Forward    A_n = sum_d a_nd^2 + 1e-12      B_n = sum_d b_nd^2 + 1e-12
           c_n = sum_d a_nd b_nd / sqrt(A_n B_n)            the cosine of the angle between them
           l_n = 1 - c_n where y = 1,   max(0, c_n - margin) where y = -1
           L   = l  (none)   sum_n l_n  (sum)   sum_n l_n / N  (mean)
Backward   writing a' for dL/da, given L'; l' is L', or L' / N for the mean; s = dl/dc is -1 where
           y = 1, 1 where y = -1 and c > margin, else 0
    a' = s l' (b / sqrt(AB) - a c / A)   of each n, because the derivative of a.b by a is b,
                                         and that of A^-1/2 is -a A^-3/2
    b' = s l' (a / sqrt(AB) - b c / B)   because c is symmetric in a and b
Saves      a and b, and of each pair s / sqrt(AB), s c / A (if a' is needed), s c / B (if b' is)
Cost       6ND flops forward, 3ND backward for each gradient
Source     derived here, with torch's 1e-12 that keeps the cosine of a zero vector finite; a label
           other than 1 and -1 has no loss, as in torch
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

LEAST_SQUARE = 9.999999960041972e-13  # 1e-12 in float32, as torch adds it


class Needs(NamedTuple):
    """Which gradients are needed."""

    a: bool
    b: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    a: Tensor  # [N, D]
    b: Tensor  # [N, D]
    across: Tensor  # [N] s / sqrt(AB), the part of the other vector
    along_a: Tensor | None  # [N] s c / A, the part of a in a'
    along_b: Tensor | None  # [N] s c / B
    reduction: Reduction


def forward(
    a: Tensor, b: Tensor, y: Tensor, margin: float, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    A, B, norms, c = _cosine(a, b)
    beyond = c - margin
    losses = torch.where(y == 1, 1 - c, torch.where(y == -1, beyond.clamp_min(0), 0))
    loss = reduced(losses, reduction, losses.numel())

    s = ((y == -1) & (beyond > 0)).to(c.dtype) - (y == 1).to(c.dtype)
    along_a = s * c / A if needs.a else None
    along_b = s * c / B if needs.b else None
    return loss, Saved(a, b, s / norms, along_a, along_b, reduction)


def _cosine(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return A, B, sqrt(AB) and c [N], in float32 or wider."""
    a, b = widened(a, b)
    A = (a * a).sum(-1).add_(LEAST_SQUARE)
    B = (b * b).sum(-1).add_(LEAST_SQUARE)
    norms = (A * B).sqrt_()
    return A, B, norms, (a * b).sum(-1).div_(norms)


def reconnect(saved: Saved) -> Saved:
    """Return Saved with what is read of A, B and c computed from a and b again."""
    A, B, norms, c = _cosine(saved.a, saved.b)
    s = saved.across.sign()
    return saved._replace(
        across=s / norms,
        along_a=None if saved.along_a is None else s * c / A,
        along_b=None if saved.along_b is None else s * c / B,
    )


def backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return a' and b', each None if it is not needed."""
    a, b, across, along_a, along_b, reduction = saved
    grad_losses = grad_of_elements(grad_loss, reduction, across.numel())
    across = (grad_losses * across).unsqueeze(-1)
    grad_a = grad_b = None
    if along_a is not None:
        grad_a = (across * b).addcmul_((grad_losses * along_a).unsqueeze(-1), a, value=-1)
    if along_b is not None:
        grad_b = (across * a).addcmul_((grad_losses * along_b).unsqueeze(-1), b, value=-1)
    return grad_a, grad_b


cosine_embedding_loss_function = operation(
    forward, backward, precision=float32_loss("cpu", "cuda"), reconnect=reconnect
)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return 1 - cos(input1, input2) where `target` is 1, max(0, cos - margin) where it is -1.

    input1, input2 [N, D] and target [N], or [D] and a scalar. Raises ValueError for other shapes.
    """
    checked_reduction(reduction)
    checked_shapes(input1=input1, input2=input2)
    checked_constant(target=target)
    if input1.dim() not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ValueError(
            f"input1 has shape {list(input1.shape)} and target {list(target.shape)}: expected "
            "[N, D] and [N], or [D] and a scalar"
        )
    return cosine_embedding_loss_function(input1, input2, target, margin, reduction)
