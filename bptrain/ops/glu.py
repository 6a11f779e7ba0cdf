"""Gated linear unit: one half of the channels gates the other, y = a s(b).

Shapes     x [..., 2C, ...] = a, b, the halves along `dim`   a, b, y [..., C, ...]
Forward    y = a s      s = 1 / (1 + e^-b)
Backward   writing x' for dL/dx, given y'; a' and b' are joined to x'
    a' = y' s             because dy/da = s
    b' = y' a s (1 - s)   because dy/ds = a and ds/db = s (1 - s)
Saves      x, from which one kernel writes both halves of x'. y and s would do, half as much where
           the layer that follows saves y, but in 4 passes and a concatenation of two halves
Cost       1 exponential and 3 flops for each element of y forward, twice as many flops backward
Source     Dauphin et al. 2017, "Language modeling with gated convolutional networks", equation 1
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.axis import checked_axis
from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    dim: int


def forward(x: Tensor, dim: int) -> tuple[Tensor, Saved]:
    """Return y [..., C, ...]."""
    a, b = x.chunk(2, dim)
    return a * b.sigmoid(), Saved(x, dim)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [..., 2C, ...]."""
    a, b = saved.x.chunk(2, saved.dim)
    s = b.sigmoid()
    grad_a = grad_y * s
    grad_b = grad_y * a * s * (1 - s)
    return torch.cat([grad_a, grad_b], saved.dim)


def fused_forward(x: Tensor, dim: int) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.glu(x, dim)
    return y, Saved(x, dim)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.glu_backward(grad_y, saved.x, saved.dim)
    return grad_x


glu_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return the first half of input along `dim`, times the sigmoid of the second half.

    Raises ValueError for a `dim` that input does not have, or whose size is odd.
    """
    dim = checked_axis(dim, input)
    if input.dim() == 0 or input.shape[dim] % 2:
        raise ValueError(
            f"input has shape {list(input.shape)}, expected an even size along dim {dim}: a half "
            "and its gates"
        )
    return glu_function(input, dim)
