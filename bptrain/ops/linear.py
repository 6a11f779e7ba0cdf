"""Affine map: y = x W^T + b, and how blame flows back through it.

Shapes     x [N, I]   W [O, I]   b [O]   y [N, O]      N: all leading axes, flattened
Forward    y_no = sum_i x_ni W_oi + b_o
Backward   writing x' for dL/dx, given y' [N, O]
    x' = y' W        because dy_no/dx_ni = W_oi, summed over o    [N, I]
    W' = y'^T x      because dy_no/dW_oi = x_ni, summed over n    [O, I]
    b' = sum_n y'_n  because dy_no/db_o = 1, summed over n        [O]
Keeps      x (only if W' is wanted), W (only if x' is wanted); not y
Cost       2NIO flops forward, 4NIO backward (2NIO in a first layer: nobody wants its x')
Source     derived here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_autocast_dtype


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [..., I]
    W: Tensor | None  # [O, I]


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    W: bool
    b: bool


def forward(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """Return y [..., O]."""
    rows = x.reshape(-1, W.shape[1])  # [N, I]
    y = rows.mm(W.t()) if b is None else torch.addmm(b, rows, W.t())
    return y.view(*x.shape[:-1], W.shape[0])


def backward(
    grad_y: Tensor, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x' [..., I], W' [O, I], b' [O], each None if it is not wanted."""
    grad_x = grad_W = grad_b = None
    grad_rows = grad_y.reshape(-1, grad_y.shape[-1])  # [N, O]
    if needs.x and saved.W is not None:
        grad_x = grad_rows.mm(saved.W).view(*grad_y.shape[:-1], saved.W.shape[1])
    if needs.W and saved.x is not None:
        grad_W = grad_rows.t().mm(saved.x.reshape(-1, saved.x.shape[-1]))
    if needs.b:
        grad_b = grad_rows.sum(0)
    return grad_x, grad_W, grad_b


class LinearFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_autocast_dtype
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs = Needs(*ctx.needs_input_grad)
        ctx.save_for_backward(x if ctx.needs.W else None, W if ctx.needs.x else None)
        return forward(x, W, b)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Run the backward pass."""
        return backward(grad_y, Saved(*ctx.saved_tensors), ctx.needs)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `input @ weight.T + bias`.

    input [..., I], weight [O, I], bias [O]; returns [..., O] in the dtype of the inputs.
    """
    y: Tensor = LinearFunction.apply(input, weight, bias)
    return y
