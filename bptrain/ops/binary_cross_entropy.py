"""Binary cross-entropy of probabilities: -log of what x gives to the label t.

Shapes     x probabilities, t labels: the same shape, M elements; w weight that broadcasts to it
Forward    l_m = -w_m (t_m log x_m + (1 - t_m) log(1 - x_m))     each log no less than -100
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = w l' (x - t) / (x (1 - x))      because dl/dx = -w (t / x - (1 - t) / (1 - x)), over one
                                         denominator; no less than 1e-12, so that a certain and
                                         wrong x has a gradient that is large, not infinite
    t' = w l' (log(1 - x) - log x)       because l is linear in t; each log no less than -100
Saves      x, t (if x' is needed) and w: x is the sigmoid's output, which that layer saves anyway
Cost       6M flops and 2M logarithms forward, 5M flops backward
Source     derived here, with torch's two bounds. At x = 0 or 1 torch's t' is infinite; here it is
           the slope of the bounded logarithms. ops/binary_cross_entropy_with_logits.py
           needs no bounds: prefer it
"""

from typing import NamedTuple

from torch import Tensor

from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_loss
from bptrain.ops.reduction import (
    Reduction,
    checked_broadcast,
    checked_reduction,
    checked_shapes,
    grad_of_elements,
    reduced,
    weighted,
    widened,
)
from bptrain.ops.second_derivatives import own_product

LEAST_LOG = -100.0
LEAST_DENOMINATOR = 9.999999960041972e-13  # 1e-12 in float32, as it stands in torch's kernel


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    t: Tensor | None  # if x' is needed
    w: Tensor | None
    reduction: Reduction


def forward(
    x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider."""
    saved = Saved(x, t if needs.x else None, w, reduction)
    x, t = widened(x, t)
    log_x, log_rest = _logarithms(x)
    losses = log_rest.mul_(t - 1).sub_(log_x.mul_(t))
    return reduced(weighted(losses, w), reduction, losses.numel()), saved


def _logarithms(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return log x and log(1 - x), no less than -100."""
    # log1p(-x) keeps the digits of a small x, which 1 - x would round away
    return x.log().clamp_min_(LEAST_LOG), x.neg().log1p_().clamp_min_(LEAST_LOG)


def backward(grad_loss: Tensor, saved: Saved, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not needed."""
    x, t, w, reduction = saved
    grad_losses = grad_of_elements(grad_loss, reduction, x.numel())
    grad_x = grad_t = None
    if needs.x and t is not None:
        wide, t = widened(x, t)
        denominator = (1 - wide).mul_(wide).clamp_min_(LEAST_DENOMINATOR)
        grad_x = weighted(own_product((wide - t).div_(denominator), grad_losses), w)
    if needs.t:
        log_x, log_rest = _logarithms(*widened(x))
        grad_t = weighted(own_product(log_rest - log_x, grad_losses), w)
    return grad_x, grad_t


binary_cross_entropy_function = operation(forward, backward, precision=float32_loss("cpu", "cuda"))


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Return the cross-entropy of probabilities `input` against labels `target`, 0 to 1 both.

    `weight` broadcasts to the shape of input. Raises ValueError for wrong shapes or options. A
    probability outside of 0 to 1 gives NaN: looking for one would wait for the device.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    checked_broadcast(input, weight=weight)
    return binary_cross_entropy_function(input, target, weight, reduction)
