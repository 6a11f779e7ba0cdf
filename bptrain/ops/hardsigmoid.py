"""Hard sigmoid: a straight line from 0 at x = -3 to 1 at x = 3, and constant beyond.

Shapes     x, y any shape, the same
Forward    y = min(max(x + 3, 0), 6) / 6
Backward   writing x' for dL/dx, given y'
    x' = y' / 6 where -3 < x < 3, else 0   because dy/dx = 1 / 6 on the line and 0 beyond; at the
                                           kinks x = -3 and x = 3 0 is taken, as torch does
Saves      x: one kernel then gates and divides. y would do in two passes, 1.5 times as long, but
           for an x just below 3, whose y is rounded to 1
Cost       4 flops an element forward, 3 backward
Source     Courbariaux, Bengio and David 2015, "BinaryConnect", with the slope 1/6 of
           Howard et al. 2019, "Searching for MobileNetV3", section 5.2. torch's kernel for
           the backward pass, unlike the one for the forward pass, rounds 1/6 to float32 even in
           float64, which is an error of 3e-8
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation

SIXTH = 0.1666666716337204  # the float32 nearest to 1 / 6, as the kernel has it


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor


def forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y, between 0 and 1; NaN stays NaN."""
    return (x + 3).clamp(0, 6) / 6, Saved(x)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    x = saved.x
    return torch.where((x > -3) & (x < 3), grad_y * SIXTH, 0)


def fused_forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.hardsigmoid(x)
    return y, Saved(x)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.hardsigmoid_backward(grad_y, saved.x)
    return grad_x


hardsigmoid_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return 0 up to -3, 1 from 3 on, and input / 6 + 1 / 2 between."""
    return hardsigmoid_function.in_place_if(inplace)(input)
