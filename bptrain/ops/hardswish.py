"""Hard swish: y = x hardsigmoid(x), a swish of straight lines and one parabola.

Shapes     x, y any shape, the same
Forward    y = x min(max(x + 3, 0), 6) / 6
Backward   writing x' for dL/dx, given y'
    x' = 0                 where x <= -3       because y = 0 there
    x' = y' (x / 3 + 1/2)  where -3 < x < 3    because y = (x^2 + 3 x) / 6 there
    x' = y'                where x >= 3        because y = x there. Both ends are kinks: the slope
                                               leaps from 0 to -1/2 and from 3/2 to 1
Keeps      x: y falls below x = -1.5 and rises above it, so two x share one y
Cost       5 flops an element forward, 4 backward
Source     Howard et al. 2019, "Searching for MobileNetV3", section 5.2
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor) -> Tensor:
    """Return y."""
    y: Tensor = torch.ops.aten.hardswish(x)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.hardswish_backward(grad_y, x)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x', by the three lines above."""
    on_the_parabola = grad_y * (x / 3 + 0.5)
    return torch.where(x <= -3, 0, torch.where(x < 3, on_the_parabola, grad_y))


class HardswishFunction(torch.autograd.Function):
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


def hardswish(input: Tensor) -> Tensor:
    """Return input * hardsigmoid(input), element by element."""
    y: Tensor = HardswishFunction.apply(input)
    return y
