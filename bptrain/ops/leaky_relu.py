"""Leaky rectified linear unit: a gate that lets a share a of the blame leak through when closed.

Shapes     x, y any shape, the same
Forward    y = x where x > 0, else a x      a negative_slope
Backward   writing x' for dL/dx, given y'
    x' = y' where x > 0, else a y'   because dy/dx = 1 for x > 0 and a for x < 0; at the kink x = 0,
                                     where no derivative exists, a is taken, as torch does
Keeps      y where a >= 0: then y > 0 exactly where x > 0, and the layer that follows keeps y as its
           own input, so that this layer's share is nothing. x where a < 0: then both sides give
           y > 0
Cost       1 comparison and at most 1 product an element each way
Source     Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic
           models", section 2
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor, a: float) -> Tensor:
    """Return y; NaN stays NaN."""
    y: Tensor = torch.ops.aten.leaky_relu(x, a)
    return y


def backward_in_one_pass(grad_y: Tensor, gate: Tensor, a: float) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.leaky_relu_backward(grad_y, gate, a, a >= 0)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, gate: Tensor, a: float) -> Tensor:
    """Return x'; `gate` has the sign of x: y where a >= 0, else x."""
    return torch.where(gate > 0, grad_y, a * grad_y)


class LeakyReLUFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, a: float) -> Tensor:
        """Run the forward pass and keep what tells the sign of x."""
        y = forward(x, a)
        ctx.save_for_backward(y if a >= 0 else x)
        ctx.a = a
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        (gate,) = ctx.saved_tensors
        return backward(grad_y, gate, ctx.a), None


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Return input where it is positive, else negative_slope * input."""
    y: Tensor = LeakyReLUFunction.apply(input, negative_slope)
    return y
