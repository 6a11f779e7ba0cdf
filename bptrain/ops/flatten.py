"""Flattening: several axes become one, the numbers stay.

Shapes     x [..., A, B, ...]   y [..., A B, ...]
Forward    y_(a B + b) = x_ab
Backward   writing x' for dL/dx, given y'
    x'_ab = y'_(a B + b)   because each y is one x, dy/dx = 1
Saves      nothing, only the shape of x
Cost       nothing, or one copy each way where the axes do not lie one after the other in memory
Source     derived here
"""

from typing import NamedTuple

from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    shape: tuple[int, ...]  # of x


def forward(x: Tensor, start: int, end: int) -> tuple[Tensor, Saved]:
    """Return y, a view of x where x allows it."""
    return x.flatten(start, end), Saved(x.shape)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [*shape], a view of y' where y' allows it."""
    return grad_y.reshape(saved.shape)


flatten_function = operation(forward, backward, takes_complex=True)


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
    return flatten_function(input, start, end)
