"""Mean absolute error: L = |x - t|, averaged or summed over all elements.

Shapes     x prediction, t target, w weight or None: the same shape, M elements; d = x - t
Forward    l_m = w_m |d_m|                            w_m = 1 without weight
           L = l  (none)   sum_m l_m  (sum)   sum_m l_m / A  (mean), A = sum_m w_m, or M
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean; s = sign d
    x' = s w l'            because d|d|/dd = sign d; at the kink d = 0 the sign is 0, as in torch
    t' = -x'               because x and t enter through their difference alone
    w' = |d| l'            because dl_m/dw_m = |d_m|
    w' = (|d| - L) l'      for the mean, because w_m stands in A as well: dL/dA = -L / A
Keeps      s in one byte an element, where d takes four and x and t take eight; with a weight w (|d|
           if w' is wanted), and for the mean the numbers A and L
Cost       2M flops forward, M backward
Source     derived here; under autocast a weighted loss is float32 as one without weight is, where
           torch leaves it in 16 bits
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.reduction import (
    Reduction,
    checked_reduction,
    checked_shapes,
    reduced,
    spread,
    widened,
)


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    t: bool
    w: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    s: Tensor | None  # int8, if x' or t' is wanted
    w: Tensor | None  # if x' or t' is wanted
    e: Tensor | None  # |d|, if w' is wanted
    A: Tensor | None  # for the weighted mean
    L: Tensor | None  # for the weighted mean, if w' is wanted


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L, a scalar or for 'none' the shape of x, and what the backward pass reads."""
    x, t = widened(x, t)
    d = x - t
    s = _sign(d) if needs.x or needs.t else None
    if w is None:
        return reduced(d.abs_(), reduction, d.numel()), Saved(s, None, None, None, None)
    e = d.abs_()
    A = w.sum(dtype=e.dtype) if reduction == "mean" else None
    L = reduced(e * w, reduction, w if A is None else A)
    return L, Saved(
        s,
        None if s is None else w,
        e if needs.w else None,
        A,
        None if A is None or not needs.w else L,
    )


def _sign(d: Tensor) -> Tensor:
    # Two comparisons write 1 byte an element each; sign() would write 4 and then be converted.
    return (d > 0).view(torch.int8) - (d < 0).view(torch.int8)


def backward(
    grad_loss: Tensor, saved: Saved, reduction: Reduction, needs: Needs, M: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x', t' and w', each None if it is not wanted."""
    s, w, e, A, L = saved
    grad_losses = spread(grad_loss, reduction, M if A is None else A)
    grad_x = grad_t = grad_w = None
    if s is not None:
        pull = grad_losses if w is None else w * grad_losses
        grad_x = s * pull if needs.x else None
        grad_t = s * -pull if needs.t else None
    if e is not None:
        grad_w = (e if L is None else e - L) * grad_losses
    return grad_x, grad_t, grad_w


class L1LossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction) -> Tensor:
        """Run the forward pass and keep the signs."""
        ctx.needs, ctx.reduction = Needs(*ctx.needs_input_grad[:3]), reduction
        ctx.M = x.numel()
        loss, saved = forward(x, t, w, reduction, ctx.needs)
        ctx.save_for_backward(*saved)
        return loss

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_loss: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        return *backward(grad_loss, saved, ctx.reduction, ctx.needs, ctx.M), None


def l1_loss(
    input: Tensor, target: Tensor, reduction: Reduction = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return the absolute error of `input` against `target`, each times its `weight` if given.

    The mean of a weighted loss divides by the sum of the weights. Raises ValueError where the
    shapes differ, which torch would broadcast with a warning.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target, weight=weight)
    loss: Tensor = L1LossFunction.apply(input, target, weight, reduction)
    return loss
