"""Softmax: y_k = e^(x_k) / sum_j e^(x_j), scores made positive and of sum 1 along an axis.

Shapes     x, y [..., K, ...], the same; K the axis `dim`
Forward    y_k = e^(x_k - m) / sum_j e^(x_j - m)      m = max_j x_j, which cancels: no overflow
Backward   writing x' for dL/dx, given y'
    x'_k = y_k (y'_k - sum_j y'_j y_j)   because dy_j/dx_k = y_j ([j = k] - y_k), summed over j: a
                                         score gains as far as its y' is above their mean under y
Keeps      y, not x: the Jacobian is a function of y alone
Cost       1 exponential and 4 flops an element forward, 4 flops backward
Source     Bridle 1990, "Probabilistic interpretation of feedforward classification network
           outputs"; the backward pass is derived here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.axis import checked_axis
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor, dim: int) -> Tensor:
    """Return y, of sum 1 along `dim`."""
    y: Tensor = torch.ops.aten._softmax(x, dim, False)
    return y


def backward_in_one_pass(grad_y: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten._softmax_backward_data(grad_y, y, dim, y.dtype)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, y: Tensor, dim: int) -> Tensor:
    """Return x', of sum 0 along `dim`, in the dtype of y."""
    mean = (grad_y * y).sum(dim, keepdim=True)  # of y', under y
    return y * (grad_y - mean)


class SoftmaxFunction(torch.autograd.Function):
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


def implicit_axis(input: Tensor) -> int:
    """Return the axis that torch takes for dim=None: the classes of [K], [N, K] or [N, K, H, W].

    Of three axes it takes the first: torch kept this from the time before batches.
    """
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return the softmax of input along `dim`, computed and returned in `dtype` if it is given.

    dim=None chooses as torch does, without its warning. Raises ValueError for a `dim` that input
    has not.
    """
    dim = implicit_axis(input) if dim is None else checked_axis(dim, input)
    y: Tensor = SoftmaxFunction.apply(input, dim, dtype)
    return y
