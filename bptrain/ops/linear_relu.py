"""Affine map and rectifier in one: y = max(x W^T + b, 0), the activation written over the product.

Shapes     x [N, I]   W [O, I]   b [O]   a, y [N, O]      N: all leading axes, flattened
Forward    a = x W^T + b     y = max(a, 0)
Backward   writing x' for dL/dx, given y' [N, O]
    a' = y' where y > 0, else 0    because dy/da = 1 for a > 0 and 0 for a < 0, and y > 0 exactly
                                   where a > 0; 0 at the kink
    x' = a' W        because da_no/dx_ni = W_oi, summed over o    [N, I]
    W' = a'^T x      because da_no/dW_oi = x_ni, summed over n    [O, I]
    b' = sum_n a'_n  because da_no/db_o = 1, summed over n        [O]
Saves      x (only if W' is needed), W (only if x' is needed), y, which takes the memory of a
Cost       2NIO flops forward, 4NIO backward, as linear.py; no pass over memory of its own forward
Source     derived here, from linear.py and relu.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.linear import Gradients, Needs
from bptrain.ops.linear import Saved as OfLinear
from bptrain.ops.linear import backward as linear_backward
from bptrain.ops.operation import operation
from bptrain.ops.precision import MATMUL
from bptrain.ops.rows import rows_of


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [..., I]
    W: Tensor | None  # [O, I]
    y: Tensor  # [..., O]


def forward(x: Tensor, W: Tensor, b: Tensor | None, needs: Needs) -> tuple[Tensor, Saved]:
    """Return y [..., O]; NaN stays NaN."""
    rows = rows_of(x)  # [N, I]
    a = rows.mm(W.t()) if b is None else torch.addmm(b, rows, W.t())
    y = a.clamp_min(0).view(*x.shape[:-1], W.shape[0])
    return y, Saved(x if needs.W else None, W if needs.x else None, y)


def fused_forward(x: Tensor, W: Tensor, b: Tensor | None, needs: Needs) -> tuple[Tensor, Saved]:
    """Return the same, y in the memory of a."""
    rows = rows_of(x)
    y = rows.mm(W.t()) if b is None else torch.addmm(b, rows, W.t())
    y = y.clamp_min_(0).view(*x.shape[:-1], W.shape[0])
    return y, Saved(x if needs.W else None, W if needs.x else None, y)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [..., I], W' [O, I], b' [O], each None if it is not needed."""
    # not y > 0: a NaN, which is neither, reaches the gradient and is seen there
    return linear_backward(grad_y.masked_fill(saved.y <= 0, 0), OfLinear(saved.x, saved.W), needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the same, a' from one kernel."""
    grad_a = torch.ops.aten.threshold_backward(grad_y, saved.y, 0)
    return linear_backward(grad_a, OfLinear(saved.x, saved.W), needs)


linear_relu_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=MATMUL,
)


def linear_relu(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `relu(linear(input, weight, bias))`.

    input [..., I], weight [O, I], bias [O]; returns [..., O]. Raises ValueError for an input of
    other shapes.
    """
    if input.dim() == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"input has shape {list(input.shape)}, expected [..., {weight.shape[-1]}] for weight "
            f"{list(weight.shape)}"
        )
    return linear_relu_function(input, weight, bias)
