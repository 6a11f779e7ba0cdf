"""Addition: y = x + a z, the residual connection, whose gradient goes both ways unchanged.

Shapes     x, z broadcast to y, as in torch: axes are aligned at the end, and one that is missing
           or of size 1 is repeated; z may be a number
Forward    y_i = x_i + a z_i        a alpha, 1 by default
Backward   writing x' for dL/dx, given y'
    x' = y'     because dy_i/dx_i = 1; summed over the axes along which x was repeated, since a
                repeated number has a share of the gradient at each copy
    z' = a y'   because dy_i/dz_i = a; summed likewise
Saves      nothing
Cost       one addition an element forward, none backward without broadcasting
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Operand(NamedTuple):
    """The shape and dtype of an operand's gradient."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Operand
    z: Operand | None  # None for a number
    a: float


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    z: bool


def operand(x: Tensor | float) -> Operand | None:
    """Return what the gradient by x looks like; None for a number."""
    return Operand(x.shape, x.dtype) if isinstance(x, Tensor) else None


def forward(x: Tensor, z: Tensor | float, a: float, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y in the wider of the two dtypes."""
    saved = Saved(Operand(x.shape, x.dtype), operand(z), a)
    return torch.add(x, z, alpha=a), saved


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x', z', each None if it is not needed."""
    x, z, a = saved
    grad_x = grad_z = None
    if needs.x:
        grad_x = grad_y.sum_to_size(x.shape).to(x.dtype)
    if z is not None and needs.z:
        grad_z = grad_y.sum_to_size(z.shape)
        if a != 1:
            grad_z = a * grad_z
        grad_z = grad_z.to(z.dtype)
    return grad_x, grad_z


add_function = operation(forward, backward)


def check_broadcast(input: Tensor, other: Tensor | float) -> None:
    """Raise ValueError for shapes that do not broadcast."""
    if not isinstance(other, Tensor):
        return
    pairs = zip(reversed(input.shape), reversed(other.shape), strict=False)
    if any(n != m and 1 not in (n, m) for n, m in pairs):
        raise ValueError(
            f"input has shape {list(input.shape)} and other {list(other.shape)}, expected shapes "
            "that agree from the last axis on, or have a 1 where they differ"
        )


def add(input: Tensor, other: Tensor | float, *, alpha: float = 1) -> Tensor:
    """Return input + alpha * other, broadcast as in torch; other may be a number.

    Raises ValueError for shapes that do not broadcast.
    """
    check_broadcast(input, other)
    return add_function(input, other, alpha)
