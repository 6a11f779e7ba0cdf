"""Sigmoid linear unit, or swish: y = x s(x), a gate that its own input opens.

Shapes     x, y any shape, the same
Forward    y = x s      s = 1 / (1 + e^-x)
Backward   writing x' for dL/dx, given y'
    x' = y' s (1 + x (1 - s))   because ds/dx = s (1 - s), so by the product rule
                                dy/dx = s + x s (1 - s)
Keeps      x: y falls below x = -1.28 and rises above it, so two x share one y
Cost       1 exponential an element each way, and 5 flops backward
Source     Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units for neural network
           function approximation in reinforcement learning"
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor) -> Tensor:
    """Return y."""
    y: Tensor = torch.ops.aten.silu(x)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.silu_backward(grad_y, x)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x'."""
    s = x.sigmoid()
    return grad_y * s * (1 + x * (1 - s))


class SiLUFunction(torch.autograd.Function):
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


def silu(input: Tensor) -> Tensor:
    """Return input * sigmoid(input), element by element."""
    y: Tensor = SiLUFunction.apply(input)
    return y
