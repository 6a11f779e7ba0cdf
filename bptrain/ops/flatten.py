"""Flattening: several axes become one, no number changes.

Shapes     x [..., A, B, ...]   y [..., A B, ...]
Forward    y_(a B + b) = x_ab
Backward   writing x' for dL/dx, given y'
    x'_ab = y'_(a B + b)   because each y is one x, dy/dx = 1
Keeps      nothing, only the shape of x
Cost       nothing, or one copy each way where the axes do not lie one after the other in memory
Source     derived here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype


def forward(x: Tensor, start: int, end: int) -> Tensor:
    """Return y, a view of x where x allows it."""
    return x.flatten(start, end)


def backward(grad_y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return x' [*shape], a view of y' where y' allows it."""
    return grad_y.reshape(shape)


class FlattenFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, start: int, end: int) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        ctx.shape = x.shape
        return forward(x, start, end)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None]:
        """Run the backward pass."""
        return backward(grad_y, ctx.shape), None, None


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Return input with the axes start_dim to end_dim, both included, made one.

    Raises ValueError for axes that input does not have, or in the wrong order.
    """
    axes = max(input.dim(), 1)  # a scalar becomes a vector of one, as in torch
    start, end = (dim + axes if dim < 0 else dim for dim in (start_dim, end_dim))
    if not 0 <= start <= end < axes:
        raise ValueError(
            f"start_dim is {start_dim} and end_dim {end_dim}, expected two axes in this order of "
            f"an input of shape {list(input.shape)}"
        )
    if input.is_contiguous():
        return input.flatten(start, end)  # torch's own view: it may be changed in place
    y: Tensor = FlattenFunction.apply(input, start, end)
    return y
