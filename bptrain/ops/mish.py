"""Mish: y = x tanh(softplus x), a smooth function that lets small negative values through.

Shapes     x, y any shape, the same
Forward    y = x t      t = tanh(log(1 + e^x))
Backward   writing x' for dL/dx, given y', and s = 1 / (1 + e^-x)
    x' = y' (t + x s (1 - t^2))   because d log(1 + e^x)/dx = s and dtanh(u)/du = 1 - tanh^2 u, so
                                  that dt/dx = s (1 - t^2), and the product rule
Saves      x: y falls below x = -1.19 and rises above it, so two x share one y
Cost       1 exponential, 1 logarithm and 1 tanh an element each way, and 1 exponential for s
Source     Misra 2020, "Mish: a self regularized non-monotonic activation function"
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor


def forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y."""
    t = x.exp().log1p().tanh()  # where e^x overflows, tanh makes 1 of the inf
    return x * t, Saved(x)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    x = saved.x
    t = x.exp().log1p().tanh()
    s = x.sigmoid()
    return grad_y * (t + x * s * (1 - t**2))


def fused_forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.mish(x)
    return y, Saved(x)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.mish_backward(grad_y, saved.x)
    return grad_x


mish_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input * tanh(softplus(input)), element by element."""
    return mish_function.in_place_if(inplace)(input)
