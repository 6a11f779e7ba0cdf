"""Rectified linear unit: y = max(x, 0), a gate that blame passes where the signal passed.

Shapes     x, y any shape, the same
Forward    y = max(x, 0)
Backward   writing x' for dL/dx, given y'
    x' = y' where y > 0, else 0   because dy/dx = 1 for x > 0 and 0 for x < 0; at the kink x = 0,
                                  where no derivative exists, 0 is taken, as torch does
Keeps      y, not x: y > 0 exactly where x > 0, and the layer that follows keeps y as its own
           input, so that the two share one tensor and ReLU's own share is nothing
Cost       1 comparison an element each way
Source     Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines"
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor


def forward(x: Tensor) -> Tensor:
    """Return y; NaN stays NaN."""
    return x.clamp_min(0)


def backward_in_one_pass(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel: 7 us for [128, 512] on a CPU, where the lines below take 92."""
    grad_x: Tensor = torch.ops.aten.threshold_backward(grad_y, saved.y, 0)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x'."""
    # "y <= 0" is blocked, rather than "y > 0" passed, so that a NaN, which is neither, reaches the
    # gradient and is seen there.
    return grad_y.masked_fill(saved.y <= 0, 0)


class ReLUFunction(torch.autograd.Function):
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
        return backward(grad_y, Saved(*ctx.saved_tensors))


def relu(input: Tensor) -> Tensor:
    """Return max(input, 0), element by element."""
    y: Tensor = ReLUFunction.apply(input)
    return y
