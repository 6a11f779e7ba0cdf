"""Hard sigmoid: a straight line from 0 at x = -3 to 1 at x = 3, and level beyond.

Shapes     x, y any shape, the same
Forward    y = min(max(x + 3, 0), 6) / 6
Backward   writing x' for dL/dx, given y'
    x' = y' / 6 where -3 < x < 3, else 0   because dy/dx = 1 / 6 on the line and 0 beyond; at the
                                           kinks x = -3 and x = 3 0 is taken, as torch does
Keeps      x: one kernel then gates and divides. y would do in two passes, 1.5 times as long, but
           for an x just below 3, whose y is rounded to 1
Cost       4 flops an element forward, 3 backward
Source     Courbariaux, Bengio and David 2015, "BinaryConnect", with the slope 1/6 of
           Howard et al. 2019, "Searching for MobileNetV3", section 5.2. torch's kernel for
           the backward pass, unlike the one for the forward pass, rounds 1/6 to float32 even in
           float64, which is an error of 3e-8
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by

SIXTH = 0.1666666716337204  # the float32 nearest to 1 / 6, as the kernel has it


def forward(x: Tensor) -> Tensor:
    """Return y, between 0 and 1; NaN stays NaN."""
    y: Tensor = torch.ops.aten.hardsigmoid(x)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.hardsigmoid_backward(grad_y, x)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x'."""
    return torch.where((x > -3) & (x < 3), grad_y * SIXTH, 0)


class HardsigmoidFunction(torch.autograd.Function):
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


def hardsigmoid(input: Tensor) -> Tensor:
    """Return 0 up to -3, 1 from 3 on, and input / 6 + 1 / 2 between."""
    y: Tensor = HardsigmoidFunction.apply(input)
    return y
