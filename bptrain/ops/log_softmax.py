"""Logarithm of softmax: y_k = x_k - log sum_j e^(x_j), log-probabilities without an underflow.

Shapes     x, y [..., K, ...], the same; K the axis `dim`
Forward    y_k = (x_k - m) - log sum_j e^(x_j - m)      m = max_j x_j, which cancels: no overflow
Backward   writing x' for dL/dx, given y'
    x'_k = y'_k - e^(y_k) sum_j y'_j   because dy_j/dx_k = [j = k] - p_k, summed over j, and the
                                       probability p_k, the derivative of log sum_j e^(x_j) by x_k,
                                       is e^(y_k)
Saves      y, not x: the Jacobian is a function of y alone
Cost       1 exponential and 4 flops an element forward, 1 exponential and 3 flops backward
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.axis import checked_axis
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on
from bptrain.ops.softmax import implicit_axis, largest


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor
    dim: int
    dtype: torch.dtype  # of x


def forward(x: Tensor, dim: int, dtype: torch.dtype | None) -> tuple[Tensor, Saved]:
    """Return y, at most 0, computed in `dtype` if it is given."""
    wide = x if dtype is None else x.to(dtype)
    shifted = wide - largest(wide, dim)
    y = shifted - shifted.exp().sum(dim, keepdim=True).log()
    return y, Saved(y, dim, x.dtype)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', of sum 0 along `dim`."""
    y, dim, dtype = saved
    p = y.exp()
    return (grad_y - p * grad_y.sum(dim, keepdim=True)).to(dtype)


def fused_forward(x: Tensor, dim: int, dtype: torch.dtype | None) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten._log_softmax(x if dtype is None else x.to(dtype), dim, False)
    return y, Saved(y, dim, x.dtype)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    y, dim, dtype = saved
    grad_x: Tensor = torch.ops.aten._log_softmax_backward_data(grad_y, y, dim, y.dtype)
    return grad_x.to(dtype)


log_softmax_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_on("cuda"),
)


def log_softmax(input: Tensor, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return log(softmax(input)) along `dim`, computed and returned in `dtype` if it is given.

    dim=None chooses as torch does, without its warning. Raises ValueError for a `dim` that input
    does not have.
    """
    dim = implicit_axis(input) if dim is None else checked_axis(dim, input)
    return log_softmax_function(input, dim, dtype)
