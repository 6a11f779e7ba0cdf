"""Reordering: the sequences of a batch, or their states, put in another order and back.

Shapes     x, y [K, N, H]   order, inverse [N], permutations, inverse the one that undoes order
Forward    y_kn = x_k,order(n)
Backward   writing x' for dL/dx, given y'
    x'_kn = y'_k,inverse(n)   because x_kn went to the place that order takes n from, inverse(n)
Keeps      inverse
Cost       one copy each way
Source     derived here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype


def forward(x: Tensor, order: Tensor) -> Tensor:
    """Return y."""
    return x.index_select(1, order)


def backward(grad_y: Tensor, inverse: Tensor) -> Tensor:
    """Return x'. An index_select, not the sum that gathers repeated indices: here none is."""
    return grad_y.index_select(1, inverse)


class ReorderFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        """Run the forward pass and keep the way back."""
        ctx.save_for_backward(inverse)
        return forward(x, order)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None]:
        """Run the backward pass."""
        (inverse,) = ctx.saved_tensors
        return backward(grad_y, inverse), None, None


def reorder(x: Tensor, order: Tensor | None, inverse: Tensor | None) -> Tensor:
    """Return x [K, N, H] in `order`, whose inverse is given too, or x itself without an order."""
    if order is None or inverse is None:
        return x
    y: Tensor = ReorderFunction.apply(x, order, inverse)
    return y
