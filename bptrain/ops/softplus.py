"""Softplus: y = log(1 + e^(b x)) / b, a ReLU whose corner is rounded, by 1 / b.

Shapes     x, y any shape, the same
Forward    y = log(1 + e^(b x)) / b where b x <= h, else x      b beta, h threshold
Backward   writing x' for dL/dx, given y'
    x' = y' / (1 + e^(-b x)) where b x <= h   because dy/dx = (1 / b) b e^(b x) / (1 + e^(b x))
    x' = y'                  where b x > h    because y = x there
Keeps      x: around b x = h, where y leaps down from the one line to the other, two x share one y
Cost       1 exponential an element each way, 1 logarithm forward
Source     Dugas et al. 2001, "Incorporating second-order functional knowledge for better option
           pricing"; the threshold is torch's
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.fused import carried_out_by


class Constants(NamedTuple):
    """The constants of one call."""

    b: float
    h: float  # of b x; beyond it e^(b x) would be lost on the 1, and at last overflow


def forward(x: Tensor, constants: Constants) -> Tensor:
    """Return y."""
    y: Tensor = torch.ops.aten.softplus(x, *constants)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor, constants: Constants) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.softplus_backward(grad_y, x, *constants)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor, constants: Constants) -> Tensor:
    """Return x'; 0, never NaN, where e^(-b x) overflows."""
    b, h = constants
    return torch.where(b * x > h, grad_y, grad_y / (1 + torch.exp(-b * x)))


class SoftplusFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cuda")
    def forward(ctx: Any, x: Tensor, constants: Constants) -> Tensor:
        """Run the forward pass and keep its input."""
        ctx.save_for_backward(x)
        ctx.constants = constants
        return forward(x, constants)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        (x,) = ctx.saved_tensors
        return backward(grad_y, x, ctx.constants), None


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta * input)) / beta, or input where beta * input > threshold.

    Raises ValueError for a beta of 0.
    """
    if beta == 0:
        raise ValueError("beta is 0, expected another number: softplus divides by it")
    y: Tensor = SoftplusFunction.apply(input, Constants(beta, threshold))
    return y
