"""Reordering: the sequences of a batch, or their states, put in another order and back.

Shapes     x, y [K, N, H]   order, inverse [N], permutations, inverse the one that undoes order
Forward    y_kn = x_k,order(n)
Backward   writing x' for dL/dx, given y'
    x'_kn = y'_k,inverse(n)   because x_kn went to position inverse(n) of y
Saves      inverse
Cost       one copy each way
Source     derived here
"""

from typing import NamedTuple

from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    inverse: Tensor  # [N]


def forward(x: Tensor, order: Tensor, inverse: Tensor) -> tuple[Tensor, Saved]:
    """Return y."""
    return x.index_select(1, order), Saved(inverse)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', by index_select: no index is repeated, so that no sum is needed."""
    return grad_y.index_select(1, saved.inverse)


reorder_function = operation(forward, backward, takes_complex=True)


def reorder(x: Tensor, order: Tensor | None, inverse: Tensor | None) -> Tensor:
    """Return x [K, N, H] in `order`, whose inverse is given too, or x itself without an order."""
    if order is None or inverse is None:
        return x
    return reorder_function(x, order, inverse)
