"""Concatenation: tensors joined along one axis, whose gradient is split where they meet.

Shapes     x_t [..., n_t, ...] for tensor t   y [..., sum_t n_t, ...]   the other axes are the same
Forward    y_(s_t + i) = x_t,i        s_t = n_1 + ... + n_(t-1), where tensor t begins
Backward   writing x' for dL/dx, given y'
    x'_t = y'_(s_t : s_t + n_t)   because each x is copied to one position of y, where dy/dx = 1
Saves      nothing, only the lengths n_t
Cost       one copy forward; backward nothing: each x' is a view of y'
Source     Huang et al. 2017, "Densely connected convolutional networks", equation 2, for its use;
           the derivation here
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import WIDEST


class Part(NamedTuple):
    """The shape and dtype of one tensor's gradient."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Saved(NamedTuple):
    """What the backward pass reads."""

    parts: list[Part]
    dim: int


def forward(dim: int, *tensors: Tensor, needs: tuple[bool, ...]) -> tuple[Tensor, Saved]:
    """Return y in the widest of the dtypes."""
    parts = [Part(tuple(each.shape), each.dtype) for each in tensors]
    return torch.cat(tensors, dim), Saved(parts, dim)


def backward(grad_y: Tensor, saved: Saved, needs: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """Return each x', a view of y', or None if it is not needed."""
    grads: list[Tensor | None] = []
    start = 0
    for part, is_needed in zip(saved.parts, needs, strict=True):
        if part.shape == (0,):
            # torch lets an empty vector be concatenated with tensors of any shape
            grads.append(grad_y.new_zeros(0, dtype=part.dtype) if is_needed else None)
            continue
        length = part.shape[saved.dim]
        cut = grad_y.narrow(saved.dim, start, length).to(part.dtype) if is_needed else None
        grads.append(cut)
        start += length
    return tuple(grads)


cat_function = operation(forward, backward, precision=WIDEST)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors concatenated along `dim`; their other axes must agree.

    As in torch an empty vector may stand among tensors of any shape. Raises ValueError for no
    tensor, or for shapes that do not fit.
    """
    shapes = [tuple(each.shape) for each in tensors]
    full = [shape for shape in shapes if shape != (0,)] or shapes[:1]
    axes = len(full[0]) if full else 0
    if not -axes <= dim < axes:
        raise ValueError(
            f"dim is {dim} and the tensors have the shapes {list(map(list, shapes))}, expected at "
            "least one tensor, and a dim that it has"
        )
    dim %= axes
    others = {(*shape[:dim], *shape[dim + 1 :]) for shape in full if len(shape) == axes}
    if len(others) > 1 or any(len(shape) != axes for shape in full):
        raise ValueError(
            f"the tensors have the shapes {list(map(list, shapes))}, expected them to agree on "
            f"every axis but {dim}"
        )
    return cat_function(dim, *tensors)
