"""Mish: y = x tanh(softplus x), a smooth gate that lets a little of the negative side through.

Shapes     x, y any shape, the same
Forward    y = x t      t = tanh(log(1 + e^x))
Backward   writing x' for dL/dx, given y', and s = 1 / (1 + e^-x)
    x' = y' (t + x s (1 - t^2))   because d log(1 + e^x)/dx = s and dtanh(u)/du = 1 - tanh^2 u, so
                                  that dt/dx = s (1 - t^2), and the product rule
Keeps      x: y falls below x = -1.19 and rises above it, so two x share one y
Cost       1 exponential, 1 logarithm and 1 tanh an element each way, and 1 exponential for s
Source     Misra 2020, "Mish: a self regularized non-monotonic activation function"
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor) -> Tensor:
    """Return y."""
    y: Tensor = torch.ops.aten.mish(x)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.mish_backward(grad_y, x)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x'."""
    t = x.exp().log1p().tanh()  # where e^x overflows, tanh makes 1 of the inf
    s = x.sigmoid()
    return grad_y * (t + x * s * (1 - t**2))


class MishFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Run the forward pass and keep its input."""
        ctx.save_for_backward(x)
        return forward(x)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> Tensor:
        """Run the backward pass."""
        (x,) = ctx.saved_tensors
        return backward(grad_y, x)


def mish(input: Tensor) -> Tensor:
    """Return input * tanh(softplus(input)), element by element."""
    y: Tensor = MishFunction.apply(input)
    return y
