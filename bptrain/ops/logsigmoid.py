"""Logarithm of the sigmoid: y = -log(1 + e^-x), the log-likelihood of a binary choice.

Shapes     x, y any shape, the same
Forward    y = -log(1 + e^-x)
Backward   writing x' for dL/dx, given y'
    x' = y' / (1 + e^x)   because dy/dx = -(-e^-x) / (1 + e^-x) = 1 / (1 + e^x): the choice's
                          chance of being wrong, which fades only where x is large
Keeps      x, not y: the slope is 1 - e^y too, but that cancels where y is near 0, and the expm1
           that would not is 3 times slower than the kernel that reads x. torch keeps e^-|x| as well
Cost       1 exponential and 1 logarithm an element forward, 1 exponential and 3 flops backward
Source     derived here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by

# y = -softplus(-x), whose slope torch has as one kernel with a factor of x, here -1. Where -x is
# beyond this, 1 + e^-x is e^-x to float64's last digit and the slope 1; e^40 overflows in no dtype
# that the kernel computes in, which are float32 and float64.
FACTOR, FADED = -1.0, 40.0


def forward(x: Tensor) -> Tensor:
    """Return y; no overflow however large |x| is."""
    y: Tensor = torch.ops.aten.log_sigmoid(x)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.softplus_backward(grad_y, x, FACTOR, FADED)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """Return x'; 0, never NaN, where e^x overflows."""
    return grad_y / (1 + x.exp())


class LogSigmoidFunction(torch.autograd.Function):
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


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(input)), element by element."""
    y: Tensor = LogSigmoidFunction.apply(input)
    return y
