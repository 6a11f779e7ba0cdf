"""Mean squared error: L = (x - t)^2, averaged or summed over all elements.

Shapes     x prediction, t target, w weight or None: the same shape, M elements; d = x - t
Forward    l_m = w_m d_m^2                            w_m = 1 without weight
           L = l  (none)   sum_m l_m  (sum)   sum_m l_m / A  (mean), A = sum_m w_m, or M
Backward   writing x' for dL/dx, given L'; l' is L', or L' / A for the mean
    x' = 2 w d l'          because dl_m/dx_m = 2 w_m (x_m - t_m)
    t' = -x'               because x and t enter through their difference alone
    w' = d^2 l'            because dl_m/dw_m = d_m^2
    w' = (d^2 - L) l'      for the mean, because w_m stands in A as well: dL/dA = -L / A
  For second derivatives d is an output too, whose gradient d' comes from x':
    x' = x' + d'           because dd/dx = 1
    t' = t' - d'           because dd/dt = -1
Saves      d alone, where saving x and t would take twice the memory; with a weight w, and for the
           mean the numbers A and L
Cost       3M flops forward, 2M backward
Source     derived here; under autocast on a CPU a weighted loss is float32 as one without weight
           is, where torch leaves it in 16 bits
"""

from typing import NamedTuple

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

    d: Tensor
    w: Tensor | None  # if x' or t' is needed
    A: Tensor | int | None  # what the mean divides by
    L: Tensor | None  # for the weighted mean, if w' is needed
    reduction: Reduction


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, needs: Needs
) -> tuple[tuple[Tensor, Tensor], Saved]:
    """Return L, a scalar or for 'none' the shape of x, and d."""
    x, t = widened(x, t)
    d = x - t
    losses = d * d
    if w is None:
        L = reduced(losses, reduction, d.numel())
        return (L, d), Saved(d, None, d.numel(), None, reduction)
    A = w.sum(dtype=d.dtype) if reduction == "mean" else None
    L = reduced(weighted(losses, w), reduction, w if A is None else A)
    saved_w = w if needs.x or needs.t else None
    return (L, d), Saved(d, saved_w, A, None if A is None or not needs.w else L, reduction)


def reconnect(saved: Saved) -> Saved:
    """Return Saved with A computed from w again."""
    if saved.w is None or not isinstance(saved.A, Tensor):
        return saved
    return saved._replace(A=saved.w.sum(dtype=saved.d.dtype))


def backward(
    grad_loss: Tensor, more_d: Tensor | None, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x', t' and w', each None if it is not needed."""
    d, w, A, L, reduction = saved
    grad_losses = grad_of_elements(grad_loss, reduction, d.numel() if A is None else A)
    grad_x = grad_t = grad_w = None
    if needs.x or needs.t:
        grad_d = weighted(d * (2 * grad_losses), w)
        grad_d = grad_d if more_d is None else grad_d + more_d
        grad_x = grad_d if needs.x else None
        grad_t = -grad_d if needs.t else None
    if needs.w:
        losses = d * d
        grad_w = (losses if L is None else losses - L) * grad_losses
    return grad_x, grad_t, grad_w


mse_loss_function = operation(
    forward,
    backward,
    precision=float32_loss("cpu", "cuda"),
    optional_gradients=(1,),
    reconnect=reconnect,
)


def mse_loss(
    input: Tensor, target: Tensor, reduction: Reduction = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return the squared error of `input` against `target`, each times its `weight` if given.

    The mean of a weighted loss divides by the sum of the weights. Raises ValueError where the
    shapes differ: torch would broadcast them with a warning, and a [N, 1] prediction against a
    [N] target silently becomes N^2 errors.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target, weight=weight)
    loss, _ = mse_loss_function(input, target, weight, reduction)
    return loss
