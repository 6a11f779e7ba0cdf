"""Mean absolute error: L = |x - t|, averaged or summed over all elements.

Shapes     x prediction, t target, w weight or None: the same shape, M elements; d = x - t
Forward    l_m = w_m |d_m|                            w_m = 1 without weight
           L = l  (none)   sum_m l_m  (sum)   sum_m l_m / A  (mean), A = sum_m w_m, or M
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean; s = sign d
    x' = s w l'            because d|d|/dd = sign d; at the kink d = 0 the sign is 0, as in torch
    t' = -x'               because x and t enter through their difference alone
    w' = |d| l'            because dl_m/dw_m = |d_m|
    w' = (|d| - L) l'      for the mean, because w_m stands in A as well: dL/dA = -L / A
  For second derivatives e = |d| is an output too where w' reads it; its gradient e' comes from w':
    x' = x' + s e'         because de/dx = s
    t' = t' - s e'         because de/dt = -s
Saves      s in one byte an element, where d takes four and x and t take eight; with a weight w (|d|
           if w' is needed), and for the mean the numbers A and L
Cost       2M flops forward, M backward
Source     derived here; under autocast a weighted loss is float32 as one without weight is, where
           torch leaves it in 16 bits
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_reduction,
    checked_shapes,
    grad_of_elements,
    reduced,
    weighted,
    widened,
)


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool
    w: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    s: Tensor | None  # int8, if x' or t' is needed
    w: Tensor | None  # if x' or t' is needed
    e: Tensor | None  # |d|, if w' is needed
    A: Tensor | int | None  # what the mean divides by
    L: Tensor | None  # for the weighted mean, if w' is needed
    reduction: Reduction


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, needs: Needs
) -> tuple[tuple[Tensor, Tensor | None], Saved]:
    """Return L, a scalar or for 'none' the shape of x, and |d| if w' is needed."""
    x, t = widened(x, t)
    d = x - t
    s = _sign(d) if needs.x or needs.t else None
    e = d.abs_()
    if w is None:
        L = reduced(e, reduction, e.numel())
        return (L, None), Saved(s, None, None, e.numel(), None, reduction)
    A = w.sum(dtype=e.dtype) if reduction == "mean" else None
    L = reduced(weighted(e, w), reduction, w if A is None else A)
    saved_w, saved_e = None if s is None else w, e if needs.w else None
    saved_L = None if A is None or not needs.w else L
    return (L, saved_e), Saved(s, saved_w, saved_e, A, saved_L, reduction)


def reconnect(saved: Saved) -> Saved:
    """Return Saved with A computed from w again."""
    if saved.w is None or not isinstance(saved.A, Tensor):
        return saved
    return saved._replace(A=saved.w.sum(dtype=saved.A.dtype))


def _sign(d: Tensor) -> Tensor:
    # Two comparisons write 1 byte an element each; sign() would write 4 and then be converted.
    return (d > 0).view(torch.int8) - (d < 0).view(torch.int8)


def backward(
    grad_loss: Tensor, more_e: Tensor | None, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x', t' and w', each None if it is not needed."""
    s, w, e, A, L, reduction = saved
    grad_losses = grad_of_elements(grad_loss, reduction, 1 if A is None else A)
    grad_x = grad_t = grad_w = None
    if s is not None:
        grad_e = weighted(grad_losses, w)  # 0 where w is, even if A = 0 makes l' infinite
        grad_e = grad_e if more_e is None else grad_e + more_e
        grad_x = s * grad_e if needs.x else None
        grad_t = s * -grad_e if needs.t else None
    if e is not None:
        grad_w = (e if L is None else e - L) * grad_losses
    return grad_x, grad_t, grad_w


l1_loss_function = operation(
    forward,
    backward,
    precision=float32_loss("cpu", "cuda"),
    optional_gradients=(1,),
    reconnect=reconnect,
)


def l1_loss(
    input: Tensor, target: Tensor, reduction: Reduction = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return the absolute error of `input` against `target`, each times its `weight` if given.

    The mean of a weighted loss divides by the sum of the weights. Raises ValueError where the
    shapes differ, which torch would broadcast with a warning.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target, weight=weight)
    loss, _ = l1_loss_function(input, target, weight, reduction)
    return loss
