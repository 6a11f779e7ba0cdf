"""Logarithm of the sigmoid: y = -log(1 + e^-x), the log-likelihood of a binary choice.

Shapes     x, y any shape, the same
Forward    y = -log(1 + e^-x)
Backward   writing x' for dL/dx, given y'
    x' = y' / (1 + e^x)   because dy/dx = -(-e^-x) / (1 + e^-x) = 1 / (1 + e^x): the
                          probability of the other choice, which vanishes only for large x
Saves      x, not y: the slope is 1 - e^y too, but that cancels where y is near 0, and the expm1
           that would not is 3 times slower than the kernel that reads x. torch saves e^-|x| as well
Cost       1 exponential and 1 logarithm an element forward, 1 exponential and 3 flops backward
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation

# y = -softplus(-x), whose slope torch has as one kernel with a factor of x, here -1. Where -x is
# beyond this, 1 + e^-x is e^-x to float64's last digit and the slope 1; e^40 overflows in no dtype
# that the kernel computes in, which are float32 and float64.
FACTOR, SATURATED = -1.0, 40.0


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor


def forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y; no overflow however large |x| is."""
    # -softplus(-x), its exponent never positive: no overflow
    return x.clamp_max(0) - (-x.abs()).exp().log1p(), Saved(x)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'; 0, never NaN, where e^x overflows."""
    return grad_y * (-saved.x).sigmoid()  # 1 / (1 + e^x)


def fused_forward(x: Tensor) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.log_sigmoid(x)
    return y, Saved(x)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.softplus_backward(grad_y, saved.x, FACTOR, SATURATED)
    return grad_x


logsigmoid_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(input)), element by element."""
    return logsigmoid_function(input)
