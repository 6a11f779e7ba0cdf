"""Mean squared error: L = (x - t)^2, averaged or summed over all elements.

Shapes     x prediction, t target: the same shape, M elements; d = x - t
Forward    l_m = (x_m - t_m)^2
           L = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'
    x' = 2 d L'        because dl_m/dx_m = 2 (x_m - t_m); for the mean each l_m has weight 1 / M,
                       so L' / M stands in the place of L'
    t' = -x'           because x and t enter through their difference alone
Keeps      d alone, where keeping x and t would take twice the memory
Cost       3M flops forward, 2M backward
Source     derived here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.reduction import Reduction, checked_reduction


class Saved(NamedTuple):
    """What the backward pass reads."""

    d: Tensor


def forward(x: Tensor, t: Tensor, reduction: Reduction) -> tuple[Tensor, Saved]:
    """Return L, a scalar or for 'none' the shape of x, and what the backward pass reads."""
    # bf16 and fp16: d and its square are held in float32, as a sum of many small squares loses
    # all digits in 8 bits of mantissa.
    wide = torch.promote_types(x.dtype, torch.float32)
    d = x.to(wide) - t.to(wide)
    loss = d * d
    if reduction == "sum":
        loss = loss.sum()
    elif reduction == "mean":
        loss = loss.mean()
    return loss.to(x.dtype), Saved(d)


def backward(grad_loss: Tensor, saved: Saved, reduction: Reduction) -> Tensor:
    """Return x', in the dtype of d."""
    d = saved.d
    weight = 2 / max(d.numel(), 1) if reduction == "mean" else 2
    return d * (weight * grad_loss.to(d.dtype))


class MSELossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, reduction: Reduction) -> Tensor:
        """Run the forward pass and keep the difference."""
        loss, saved = forward(x, t, reduction)
        ctx.save_for_backward(*saved)
        ctx.reduction, ctx.dtypes = reduction, (x.dtype, t.dtype)
        return loss

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        grad_x = backward(grad_loss, Saved(*ctx.saved_tensors), ctx.reduction)
        needs_x, needs_t, _ = ctx.needs_input_grad
        dtype_x, dtype_t = ctx.dtypes
        return (
            grad_x.to(dtype_x) if needs_x else None,
            -grad_x.to(dtype_t) if needs_t else None,
            None,
        )


def mse_loss(input: Tensor, target: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Return the squared error of `input` against `target`.

    Raises ValueError where the two shapes differ: torch would broadcast them with a warning, and
    a [N, 1] prediction against a [N] target silently becomes N^2 errors.
    """
    checked_reduction(reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"input has shape {list(input.shape)} and target {list(target.shape)}: "
            "expected the same shape"
        )
    loss: Tensor = MSELossFunction.apply(input, target, reduction)
    return loss
