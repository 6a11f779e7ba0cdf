"""What stands between the walks of a deep recurrent network, and moves or drops numbers.

Shapes     join: x_k any shapes, equal but along one axis   drop: x any   reorder: x [K, N, H]
Forward    join      y = (x_0, x_1, ...) side by side
           drop      y = x u / (1 - p)      u = 1 with probability 1 - p, else 0, each element apart
           reorder   y_kn = x_k,order(n)
Backward   join      x_k' = y' where x_k stands   because dy/dx_k = 1 there and 0 elsewhere
           drop      x' = y' u / (1 - p)          because dy/dx = u / (1 - p)
           reorder   x'_kn = y'_k,inverse(n)      because x_kn stands at the n' with order(n') = n
Keeps      join: nothing; drop: u, one byte an element; reorder: the inverse order, N integers
Cost       one pass over y each way
Source     dropout between layers only: Zaremba et al. 2014, arXiv 1409.2329
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype


def dropped(x: Tensor, u: Tensor, p: float) -> Tensor:
    """Return x u / (1 - p), which is its own backward pass; 0 for p = 1."""
    return x.mul(u).mul_(0.0 if p == 1 else 1 / (1 - p))


class JoinFunction(torch.autograd.Function):
    """Glue for join."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, dim: int, *tensors: Tensor) -> Tensor:
        """Join along an axis."""
        ctx.dim, ctx.sizes = dim, [each.shape[dim] for each in tensors]
        return torch.cat(tensors, dim)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Hand each tensor its part, a view."""
        parts = grad_y.split(ctx.sizes, ctx.dim)
        wanted = ctx.needs_input_grad[1:]
        return None, *(part if w else None for part, w in zip(parts, wanted, strict=True))


class DropFunction(torch.autograd.Function):
    """Glue for drop."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """Draw u and keep it."""
        u = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p)
        ctx.save_for_backward(u)
        ctx.p = p
        return dropped(x, u, p)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Drop where the forward pass dropped."""
        (u,) = ctx.saved_tensors
        return dropped(grad_y, u, ctx.p), None


class ReorderFunction(torch.autograd.Function):
    """Glue for reorder."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        """Pick the sequences in order."""
        ctx.save_for_backward(inverse)
        return x.index_select(1, order)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None, None]:
        """Pick them back."""
        (inverse,) = ctx.saved_tensors
        return grad_y.index_select(1, inverse), None, None


def join(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Return the tensors side by side along an axis."""
    if len(tensors) == 1:
        return tensors[0]
    joined: Tensor = JoinFunction.apply(dim, *tensors)
    return joined


def drop(x: Tensor, p: float) -> Tensor:
    """Return x with each element dropped with probability p, the others scaled up to match.

    From the same seed the CPU draws what torch's dropout draws there.
    """
    y: Tensor = DropFunction.apply(x, p)
    return y


def reorder(x: Tensor, order: Tensor | None, inverse: Tensor | None) -> Tensor:
    """Return the sequences of x [K, N, H] in `order`, whose inverse is given too; x if None."""
    if order is None or inverse is None:
        return x
    y: Tensor = ReorderFunction.apply(x, order, inverse)
    return y
