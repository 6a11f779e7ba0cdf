"""Softsign: y = x / (1 + |x|), which saturates like 1 / |x| where tanh does like e^(-2 |x|).

Shapes     x, y any shape, the same
Forward    y = x / (1 + |x|)
Backward   writing x' for dL/dx, given y'
    x' = y' (1 - |y|)^2   because by the quotient rule dy/dx = (1 + |x| - x sign x) / (1 + |x|)^2
                          = 1 / (1 + |x|)^2, and 1 - |y| = 1 / (1 + |x|)
Keeps      y, not x: the slope is a function of y alone, and the layer that follows keeps y anyway
Cost       3 flops an element forward, 4 backward
Source     Bergstra et al. 2009, "Quadratic polynomials learn better image features";
           the backward pass is derived here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype


def forward(x: Tensor) -> Tensor:
    """Return y, between -1 and 1."""
    return x / x.abs().add_(1)


def backward(grad_y: Tensor, y: Tensor) -> Tensor:
    """Return x'."""
    root = y.abs().sub_(1)  # |y| - 1: its sign is squared away
    return root.mul_(root).mul_(grad_y)


class SoftsignFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Run the forward pass and keep its output."""
        y = forward(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> Tensor:
        """Run the backward pass."""
        (y,) = ctx.saved_tensors
        return backward(grad_y, y)


def softsign(input: Tensor) -> Tensor:
    """Return input / (1 + |input|), element by element."""
    y: Tensor = SoftsignFunction.apply(input)
    return y
