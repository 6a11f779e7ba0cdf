"""Binary cross-entropy of probabilities: -log of what x gives to the label t.

Shapes     x probabilities, t labels: the same shape, M elements; w weight that broadcasts to it
Forward    l_m = -w_m (t_m log x_m + (1 - t_m) log(1 - x_m))     each log no less than -100
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = w l' (x - t) / (x (1 - x))      because dl/dx = -w (t / x - (1 - t) / (1 - x)), put over
                                         one denominator; no less than 1e-12, so that a wrong
                                         certainty is pulled back hard and not infinitely
    t' = w l' (log(1 - x) - log x)       because l is linear in t; each log no less than -100
Keeps      x and t, w: x is the sigmoid's output, which that layer keeps anyway
Cost       6M flops and 2M logarithms forward, 5M flops backward
Source     derived here, with torch's two bounds. At x = 0 or 1 torch's t' is infinite; here it is
           the slope of the bounded logarithms. ops/binary_cross_entropy_with_logits.py
           needs no bounds: prefer it
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, loss_in_float32
from bptrain.ops.reduction import (
    Reduction,
    checked_broadcast,
    checked_reduction,
    checked_shapes,
    reduced,
    spread,
    widened,
)

LEAST_LOG = -100.0
LEAST_DENOMINATOR = 9.999999960041972e-13  # 1e-12 in float32, as it stands in torch's kernel


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    t: bool


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor
    t: Tensor | None  # if x' is wanted
    w: Tensor | None


def forward(x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction) -> Tensor:
    """Return L in float32 or wider."""
    x, t = widened(x, t)
    log_x, log_rest = _logarithms(x)
    losses = log_rest.mul_(t - 1).sub_(log_x.mul_(t))
    if w is not None:
        losses = losses * w
    return reduced(losses, reduction, losses.numel())


def _logarithms(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return log x and log(1 - x), no less than -100."""
    # log1p(-x) keeps the digits of a small x, which 1 - x would round away
    return x.log().clamp_min_(LEAST_LOG), x.neg().log1p_().clamp_min_(LEAST_LOG)


def backward(
    grad_loss: Tensor, saved: Saved, reduction: Reduction, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return x' and t', each None if it is not wanted."""
    x, t, w = saved
    grad_losses = spread(grad_loss, reduction, x.numel())
    if w is not None:
        grad_losses = grad_losses * w
    grad_x = grad_t = None
    if needs.x and t is not None:
        wide, t = widened(x, t)
        denominator = (1 - wide).mul_(wide).clamp_min_(LEAST_DENOMINATOR)
        grad_x = (wide - t).div_(denominator).mul_(grad_losses)
    if needs.t:
        log_x, log_rest = _logarithms(*widened(x))
        grad_t = (log_rest - log_x).mul_(grad_losses)
    return grad_x, grad_t


class BinaryCrossEntropyFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, x: Tensor, t: Tensor, w: Tensor | None, reduction: Reduction) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs, ctx.reduction = Needs(*ctx.needs_input_grad[:2]), reduction
        ctx.save_for_backward(*Saved(x, t if ctx.needs.x else None, w))
        return forward(x, t, w, reduction)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        return *backward(grad_loss, saved, ctx.reduction, ctx.needs), None, None


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
    loss: Tensor = BinaryCrossEntropyFunction.apply(input, target, weight, reduction)
    return loss
