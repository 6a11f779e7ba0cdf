"""Sigmoid linear unit, or swish: y = x s(x), a gate that its own input opens.

Shapes     x, y any shape, the same
Forward    y = x s      s = 1 / (1 + e^-x)
Backward   writing x' for dL/dx, given y'
    x' = y' s (1 + x (1 - s))   because ds/dx = s (1 - s), so by the product rule
                                dy/dx = s + x s (1 - s)
Saves      x: y falls below x = -1.28 and rises above it, so two x share one y
Cost       1 exponential an element each way, and 5 flops backward
Source     Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units for neural network
           function approximation in reinforcement learning"
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
    return x * x.sigmoid(), Saved(x)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    x = saved.x
    s = x.sigmoid()
    return grad_y * s * (1 + x * (1 - s))


def fused_forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.silu(x)
    return y, Saved(x)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.silu_backward(grad_y, saved.x)
    return grad_x


silu_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input * sigmoid(input), element by element."""
    return silu_function.in_place_if(inplace)(input)
