"""Mean over axes, such as the positions of an image or the steps of a sequence.

Shapes     x any   y without the axes of the mean, or with keepdim of size 1 along them
Forward    y_k = (1 / n) sum_i x_ki    i: along the axes of the mean, n positions; k: all others
Backward   writing x' for dL/dx, given y'
    x'_ki = y'_k / n   because dy_k/dx_ki = 1 / n
Saves      nothing: the derivative depends on the shape of x alone
Cost       one addition an input forward; backward one division an output, as x' repeats numbers
Source     derived here
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from torch import Tensor

from bptrain.ops.axis import checked_axis
from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    shape: tuple[int, ...]
    kept: tuple[int, ...]  # the shape of y with keepdim


def forward(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> tuple[Tensor, Saved]:
    """Return y; the mean of nothing is NaN."""
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    return x.mean(axes, keepdim), Saved(tuple(x.shape), kept)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x': one number for all positions along the axes, never written out."""
    n = prod(saved.shape) // max(prod(saved.kept), 1)
    # of nothing x' is empty, and its derivative by y' is 0, not 0 / 0
    return (grad_y / max(n, 1)).reshape(saved.kept).expand(saved.shape)


mean_function = operation(forward, backward)


def mean(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Return the mean over one axis, several, or by default all.

    Raises ValueError for an axis that input does not have, or that is named twice.
    """
    if isinstance(dim, int):
        dim = (dim,)
    axes = tuple(checked_axis(axis, input) for axis in dim or range(input.dim()))
    if len(set(axes)) < len(axes):
        raise ValueError(f"dim is {dim}, expected each axis once")
    return mean_function(input, axes, keepdim)
