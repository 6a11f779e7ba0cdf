"""Affine map: y = x W^T + b, and the chain rule through it.

Shapes     x [N, I]   W [O, I]   b [O]   y [N, O]      N: all leading axes, flattened
Forward    y_no = sum_i x_ni W_oi + b_o
Backward   writing x' for dL/dx, given y' [N, O]
    x' = y' W        because dy_no/dx_ni = W_oi, summed over o    [N, I]
    W' = y'^T x      because dy_no/dW_oi = x_ni, summed over n    [O, I]
    b' = sum_n y'_n  because dy_no/db_o = 1, summed over n        [O]
Saves      x (only if W' is needed), W (only if x' is needed); not y
Cost       2NIO flops forward, 4NIO backward (2NIO in a first layer: its x' is not needed)
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import MATMUL
from bptrain.ops.rows import rows_of


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [..., I]
    W: Tensor | None  # [O, I]


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    W: bool
    b: bool


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def forward(x: Tensor, W: Tensor, b: Tensor | None, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y [..., O]."""
    rows = rows_of(x)  # [N, I]
    y = rows.mm(W.t()) if b is None else torch.addmm(b, rows, W.t())
    saved = Saved(x if needs.W else None, W if needs.x else None)
    return y if x.dim() == 2 else y.view(*x.shape[:-1], W.shape[0]), saved


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [..., I], W' [O, I], b' [O], each None if it is not needed."""
    x, W = saved
    grad_x = grad_W = grad_b = None
    grad_rows = rows_of(grad_y)  # [N, O]
    if needs.x and W is not None:
        grad_x = grad_rows.mm(W).view(*grad_y.shape[:-1], W.shape[1])
    if needs.W and x is not None:
        grad_W = grad_rows.t().mm(rows_of(x))
    if needs.b:
        grad_b = grad_rows.sum(0)
    return grad_x, grad_W, grad_b


linear_function = operation(forward, backward, precision=MATMUL)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `input @ weight.T + bias`.

    input [..., I], weight [O, I], bias [O]; returns [..., O] in the dtype of the inputs. Raises
    ValueError for an input of other shapes.
    """
    if input.dim() == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"input has shape {list(input.shape)}, expected [..., {weight.shape[-1]}] for weight "
            f"{list(weight.shape)}"
        )
    return linear_function(input, weight, bias)
