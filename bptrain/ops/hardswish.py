"""Hard swish: y = x hardsigmoid(x), swish made of straight lines and one parabola.

Shapes     x, y any shape, the same
Forward    y = x min(max(x + 3, 0), 6) / 6
Backward   writing x' for dL/dx, given y'
    x' = 0                 where x <= -3       because y = 0 there
    x' = y' (x / 3 + 1/2)  where -3 < x < 3    because y = (x^2 + 3 x) / 6 there
    x' = y'                where x >= 3        because y = x there. Both ends are kinks: the slope
                                               jumps from 0 to -1/2 and from 3/2 to 1
Saves      x: y falls below x = -1.5 and rises above it, so two x share one y
Cost       5 flops an element forward, 4 backward
Source     Howard et al. 2019, "Searching for MobileNetV3", section 5.2
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
    return x * ((x + 3).clamp(0, 6) / 6), Saved(x)  # 6 x alone overflows float16 from 10922 on


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', by the three lines above."""
    x = saved.x
    on_parabola = grad_y * (x / 3 + 0.5)
    return torch.where(x <= -3, 0, torch.where(x < 3, on_parabola, grad_y))


def fused_forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.hardswish(x)
    return y, Saved(x)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.hardswish_backward(grad_y, saved.x)
    return grad_x


hardswish_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return input * hardsigmoid(input), element by element."""
    return hardswish_function.in_place_if(inplace)(input)
