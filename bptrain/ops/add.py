"""Addition: y = x + a z, the residual connection, where blame goes both ways undivided.

Shapes     x, z broadcast to y, as in torch: axes are aligned at the end, and one that is missing
           or of size 1 is repeated
Forward    y_i = x_i + a z_i        a alpha, 1 by default
Backward   writing x' for dL/dx, given y'
    x' = y'     because dy_i/dx_i = 1; summed over the axes along which x was repeated, since a
                repeated number is blamed at each of its places
    z' = a y'   because dy_i/dz_i = a; summed likewise
Keeps      nothing
Cost       one addition an element forward, none backward without broadcasting
Source     derived here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype


class Operand(NamedTuple):
    """What the gradient of an operand is to look like."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_needed: bool


def forward(x: Tensor, z: Tensor, a: float) -> Tensor:
    """Return y in the wider of the two dtypes."""
    return torch.add(x, z, alpha=a)


def backward(
    grad_y: Tensor, x: Operand, z: Operand, a: float
) -> tuple[Tensor | None, Tensor | None]:
    """Return x', z', each None if it is not wanted."""
    grad_x = grad_z = None
    if x.is_needed:
        grad_x = grad_y.sum_to_size(x.shape).to(x.dtype)
    if z.is_needed:
        grad_z = grad_y.sum_to_size(z.shape)
        if a != 1:
            grad_z = a * grad_z
        grad_z = grad_z.to(z.dtype)
    return grad_x, grad_z


class AddFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, z: Tensor, a: float) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        needs_x, needs_z, _ = ctx.needs_input_grad
        ctx.x, ctx.z = Operand(x.shape, x.dtype, needs_x), Operand(z.shape, z.dtype, needs_z)
        ctx.a = a
        return forward(x, z, a)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        return *backward(grad_y, ctx.x, ctx.z, ctx.a), None


def add(input: Tensor, other: Tensor, *, alpha: float = 1) -> Tensor:
    """Return input + alpha * other, broadcast as in torch.

    Raises ValueError for shapes that do not broadcast.
    """
    pairs = zip(reversed(input.shape), reversed(other.shape), strict=False)
    if any(n != m and 1 not in (n, m) for n, m in pairs):
        raise ValueError(
            f"input has shape {list(input.shape)} and other {list(other.shape)}, expected shapes "
            "that agree from the last axis on, or have a 1 where they differ"
        )
    y: Tensor = AddFunction.apply(input, other, alpha)
    return y
