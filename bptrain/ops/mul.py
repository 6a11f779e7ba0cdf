"""Product, element by element: y = x z, as of a gate, or a scale.

Shapes     x, z broadcast to y, as in `add`; z may be a number
Forward    y_i = x_i z_i
Backward   writing x' for dL/dx, given y'
    x' = y' z   because dy_i/dx_i = z_i; summed over the axes along which x was repeated, since a
                repeated number has a share of the gradient at each copy
    z' = y' x   because dy_i/dz_i = x_i; summed likewise
Saves      z (if x' is needed), x (if z' is needed)
Cost       one product an element forward, one for each gradient backward
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.add import Operand, check_broadcast, operand
from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None
    z: Tensor | float | None
    like_x: Operand
    like_z: Operand | None  # None for a number


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    z: bool


def forward(x: Tensor, z: Tensor | float, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y in the wider of the two dtypes."""
    saved = Saved(
        x if needs.z else None, z if needs.x else None, Operand(x.shape, x.dtype), operand(z)
    )
    return torch.mul(x, z), saved


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x', z', each None if it is not needed."""
    x, z, like_x, like_z = saved
    grad_x = grad_z = None
    if z is not None:
        grad_x = (grad_y * z).sum_to_size(like_x.shape).to(like_x.dtype)
    if x is not None and like_z is not None:
        grad_z = (grad_y * x).sum_to_size(like_z.shape).to(like_z.dtype)
    return grad_x, grad_z


mul_function = operation(forward, backward)


def mul(input: Tensor, other: Tensor | float) -> Tensor:
    """Return input * other, broadcast as in torch; other may be a number.

    Raises ValueError for shapes that do not broadcast.
    """
    check_broadcast(input, other)
    return mul_function(input, other)
