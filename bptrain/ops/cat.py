"""Concatenation: tensors side by side along one axis; blame is cut apart where they meet.

Shapes     x_t [..., n_t, ...] for tensor t   y [..., sum_t n_t, ...]   the other axes are the same
Forward    y_(s_t + i) = x_t,i        s_t = n_1 + ... + n_(t-1), where tensor t begins
Backward   writing x' for dL/dx, given y'
    x'_t = y'_(s_t : s_t + n_t)   because each x goes to one place of y, where dy/dx = 1
Keeps      nothing, only the lengths n_t
Cost       one copy forward; backward nothing: each x' is a view of y'
Source     Huang et al. 2017, "Densely connected convolutional networks", equation 2, for its use;
           the derivation here
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_widest_dtype


class Part(NamedTuple):
    """What the gradient of one tensor is to look like."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_needed: bool


def forward(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Return y in the widest of the dtypes."""
    return torch.cat(tuple(tensors), dim)


def backward(grad_y: Tensor, parts: Sequence[Part], dim: int) -> list[Tensor | None]:
    """Return each x', a view of y', or None if it is not wanted."""
    grads: list[Tensor | None] = []
    start = 0
    for part in parts:
        if part.shape == (0,):
            # torch lets an empty vector stand beside tensors of any shape
            grads.append(grad_y.new_zeros(0, dtype=part.dtype) if part.is_needed else None)
            continue
        length = part.shape[dim]
        cut = grad_y.narrow(dim, start, length).to(part.dtype) if part.is_needed else None
        grads.append(cut)
        start += length
    return grads


class CatFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_widest_dtype
    def forward(ctx: Any, dim: int, *tensors: Tensor) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        ctx.dim = dim
        ctx.parts = [
            Part(tuple(each.shape), each.dtype, is_needed)
            for each, is_needed in zip(tensors, ctx.needs_input_grad[1:], strict=True)
        ]
        return forward(tensors, dim)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Run the backward pass."""
        return None, *backward(grad_y, ctx.parts, ctx.dim)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return the tensors side by side along `dim`; their other axes must agree.

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
    y: Tensor = CatFunction.apply(dim, *tensors)
    return y
