"""Leaky rectified linear unit: which passes a share a of the gradient where x is negative.

Shapes     x, y any shape, the same
Forward    y = x where x > 0, else a x      a negative_slope
Backward   writing x' for dL/dx, given y'
    x' = y' where x > 0, else a y'   because dy/dx = 1 for x > 0 and a for x < 0; at the kink x = 0,
                                     where no derivative exists, a is taken, as torch does
Saves      y where a >= 0: then y > 0 exactly where x > 0, and the layer that follows saves y as its
           own input, so that this layer adds no memory. x where a < 0: then both sides give
           y > 0
Cost       1 comparison and at most 1 product an element each way
Source     Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic
           models", section 2
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    gate: Tensor  # has the sign of x: y where a >= 0, else x
    a: float


def forward(x: Tensor, a: float) -> tuple[Tensor, Saved]:
    """Return y; NaN stays NaN."""
    y = torch.where(x > 0, x, a * x)
    return y, Saved(y if a >= 0 else x, a)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    gate, a = saved
    return torch.where(gate > 0, grad_y, a * grad_y)


def fused_forward(x: Tensor, a: float) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.leaky_relu(x, a)
    return y, Saved(y if a >= 0 else x, a)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    gate, a = saved
    grad_x: Tensor = torch.ops.aten.leaky_relu_backward(grad_y, gate, a, a >= 0)
    return grad_x


leaky_relu_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return input where it is positive, else negative_slope * input."""
    return leaky_relu_function.in_place_if(inplace)(input, negative_slope)
