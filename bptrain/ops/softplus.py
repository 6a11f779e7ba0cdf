"""Softplus: y = log(1 + e^(b x)) / b, a smooth ReLU, whose corner has the width 1 / b.

Shapes     x, y any shape, the same
Forward    y = log(1 + e^(b x)) / b where b x <= h, else x      b beta, h threshold
Backward   writing x' for dL/dx, given y'
    x' = y' / (1 + e^(-b x)) where b x <= h   because dy/dx = (1 / b) b e^(b x) / (1 + e^(b x))
    x' = y'                  where b x > h    because y = x there
Saves      x: around b x = h, where y jumps from the one line to the other, two x share one y
Cost       1 exponential an element each way, 1 logarithm forward
Source     Dugas et al. 2001, "Incorporating second-order functional knowledge for better option
           pricing"; the threshold is torch's
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on


class Constants(NamedTuple):
    """The constants of one call."""

    b: float
    h: float  # of b x; beyond it e^(b x) would swallow the 1, and at last overflow


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    constants: Constants


def forward(x: Tensor, constants: Constants) -> tuple[Tensor, Saved]:
    """Return y."""
    b, h = constants
    u = b * x
    # log(1 + e^u) = max(u, 0) + log(1 + e^-|u|). Symptom without: y is inf from 11.1 to 20 in
    # float16. Cause: e^u overflows there. Remedy: an exponent that is never positive.
    y = torch.where(u > h, x, (u.clamp_min(0) + (-u.abs()).exp().log1p()) / b)
    return y, Saved(x, constants)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    x, (b, h) = saved
    u = b * x
    return torch.where(u > h, grad_y, grad_y * u.sigmoid())  # 1 / (1 + e^-u), never NaN


def fused_forward(x: Tensor, constants: Constants) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.softplus(x, *constants)
    return y, Saved(x, constants)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.softplus_backward(grad_y, saved.x, *saved.constants)
    return grad_x


softplus_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_on("cuda"),
)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta * input)) / beta, or input where beta * input > threshold.

    Raises ValueError for a beta of 0.
    """
    if beta == 0:
        raise ValueError("beta is 0, expected another number: softplus divides by it")
    return softplus_function(input, Constants(beta, threshold))
