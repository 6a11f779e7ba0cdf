"""Logarithm of softmax: y_k = x_k - log sum_j e^(x_j), log-probabilities without an underflow.

Shapes     x, y [..., K, ...], the same; K the axis `dim`
Forward    y_k = (x_k - m) - log sum_j e^(x_j - m)      m = max_j x_j, which cancels: no overflow
Backward   writing x' for dL/dx, given y'
    x'_k = y'_k - e^(y_k) sum_j y'_j   because dy_j/dx_k = [j = k] - p_k, summed over j, and the
                                       probability p_k, the derivative of log sum_j e^(x_j) by x_k,
                                       is e^(y_k)
Keeps      y, not x: the Jacobian is a function of y alone
Cost       1 exponential and 4 flops an element forward, 1 exponential and 3 flops backward
Source     derived here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.axis import checked_axis
from bptrain.ops.fused import carried_out_by
from bptrain.ops.softmax import implicit_axis


def forward(x: Tensor, dim: int) -> Tensor:
    """Return y, at most 0."""
    y: Tensor = torch.ops.aten._log_softmax(x, dim, False)
    return y


def backward_in_one_pass(grad_y: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten._log_softmax_backward_data(grad_y, y, dim, y.dtype)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return x', of sum 0 along `dim`, in the dtype of y."""
    p = y.exp()
    return grad_y - p * grad_y.sum(dim, keepdim=True)


class LogSoftmaxFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cuda")
    def forward(ctx: Any, x: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
        """Run the forward pass in `dtype` and keep its output."""
        y = forward(x if dtype is None else x.to(dtype), dim)
        ctx.save_for_backward(y)
        ctx.dim, ctx.dtype = dim, x.dtype
        return y

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None]:
        """Run the backward pass and return to the dtype of x."""
        (y,) = ctx.saved_tensors
        return backward(grad_y, y, ctx.dim).to(ctx.dtype), None, None


def log_softmax(input: Tensor, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return log(softmax(input)) along `dim`, computed and returned in `dtype` if it is given.

    dim=None chooses as torch does, without its warning. Raises ValueError for a `dim` that input
    has not.
    """
    dim = implicit_axis(input) if dim is None else checked_axis(dim, input)
    y: Tensor = LogSoftmaxFunction.apply(input, dim, dtype)
    return y
