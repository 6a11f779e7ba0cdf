"""Gated linear unit: one half of the channels gates the other, y = a s(b).

Shapes     x [..., 2C, ...] = a, b one after the other along `dim`   a, b, y [..., C, ...]
Forward    y = a s      s = 1 / (1 + e^-b)
Backward   writing x' for dL/dx, given y'; a' and b' are joined to x'
    a' = y' s             because dy/da = s
    b' = y' a s (1 - s)   because dy/ds = a and ds/db = s (1 - s)
Keeps      x, from which one kernel writes both halves of x'. y and s would do, half as much where
           the layer that follows keeps y, but in 4 passes and the join of two halves
Cost       1 exponential and 3 flops for each element of y forward, twice as many flops backward
Source     Dauphin et al. 2017, "Language modeling with gated convolutional networks", equation 1
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.axis import checked_axis
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor, dim: int) -> Tensor:
    """Return y [..., C, ...]."""
    y: Tensor = torch.ops.aten.glu(x, dim)
    return y


def backward_in_one_pass(grad_y: Tensor, x: Tensor, dim: int) -> Tensor:
    """Return x' from one kernel."""
    grad_x: Tensor = torch.ops.aten.glu_backward(grad_y, x, dim)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, x: Tensor, dim: int) -> Tensor:
    """Return x' [..., 2C, ...]."""
    a, b = x.chunk(2, dim)
    s = b.sigmoid()
    grad_a = grad_y * s
    grad_b = grad_y * a * s * (1 - s)
    return torch.cat([grad_a, grad_b], dim)


class GLUFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        """Run the forward pass and keep its input."""
        ctx.save_for_backward(x)
        ctx.dim = dim
        return forward(x, dim)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        (x,) = ctx.saved_tensors
        return backward(grad_y, x, ctx.dim), None


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return the first half of input along `dim`, times the sigmoid of the second half.

    Raises ValueError for a `dim` that input has not, or whose size is odd.
    """
    dim = checked_axis(dim, input)
    if input.dim() == 0 or input.shape[dim] % 2:
        raise ValueError(
            f"input has shape {list(input.shape)}, expected an even size along dim {dim}: a half "
            "and its gates"
        )
    y: Tensor = GLUFunction.apply(input, dim)
    return y
