"""Softmax: y_k = e^(x_k) / sum_j e^(x_j), positive numbers of sum 1 along an axis.

Shapes     x, y [..., K, ...], the same; K the axis `dim`
Forward    y_k = e^(x_k - m) / sum_j e^(x_j - m)      m = max_j x_j, which cancels: no overflow
Backward   writing x' for dL/dx, given y'
    x'_k = y_k (y'_k - sum_j y'_j y_j)   because dy_j/dx_k = y_j ([j = k] - y_k), summed over j:
                                         positive where y'_k is above its mean under y
Saves      y, not x: the Jacobian is a function of y alone
Cost       1 exponential and 4 flops an element forward, 4 flops backward
Source     Bridle 1990, "Probabilistic interpretation of feedforward classification network
           outputs"; the backward pass is derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.axis import checked_axis
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor
    dim: int
    dtype: torch.dtype  # of x


def forward(x: Tensor, dim: int, dtype: torch.dtype | None) -> tuple[Tensor, Saved]:
    """Return y, of sum 1 along `dim`, computed in `dtype` if it is given."""
    wide = x if dtype is None else x.to(dtype)
    exponentials = (wide - largest(wide, dim)).exp()
    y = exponentials / exponentials.sum(dim, keepdim=True)
    return y, Saved(y, dim, x.dtype)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', of sum 0 along `dim`."""
    y, dim, dtype = saved
    mean = (grad_y * y).sum(dim, keepdim=True)  # of y', under y
    return (y * (grad_y - mean)).to(dtype)


def fused_forward(x: Tensor, dim: int, dtype: torch.dtype | None) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten._softmax(x if dtype is None else x.to(dtype), dim, False)
    return y, Saved(y, dim, x.dtype)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    y, dim, dtype = saved
    grad_x: Tensor = torch.ops.aten._softmax_backward_data(grad_y, y, dim, y.dtype)
    return grad_x.to(dtype)


softmax_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_on("cuda"),
)


def largest(x: Tensor, dim: int) -> Tensor:
    """Return m, so that no exponent is above 0; of an empty x any number."""
    return x.amax(dim, keepdim=True) if x.numel() else x.new_zeros(())


def implicit_axis(input: Tensor) -> int:
    """Return the axis that torch takes for dim=None: the classes of [K], [N, K] or [N, K, H, W].

    Of three axes it takes the first: in torch this dates from the time before batches.
    """
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Return the softmax of input along `dim`, computed and returned in `dtype` if it is given.

    dim=None chooses as torch does, without its warning. Raises ValueError for a `dim` that input
    does not have.
    """
    dim = implicit_axis(input) if dim is None else checked_axis(dim, input)
    return softmax_function(input, dim, dtype)
