"""Negative log-likelihood of t under a normal distribution of mean x and variance v.

Shapes     x mean, t target: the same shape, M elements; d = x - t; v variance: the same shape, or
           1 in one axis, or without the last axis: one variance for several elements
Forward    u_m = max(v_m, eps)
           l_m = (log u_m + d_m^2 / u_m) / 2      with full, + log(2 pi) / 2
           L   = l  (none)   sum_m l_m  (sum)   sum_m l_m / M  (mean)
Backward   writing x' for dL/dx, given L'; l' is L', or L' / M for the mean
    x' = d / u l'                      because the derivative of d^2 / 2u by d is d / u
    t' = -x'                           because x and t enter through their difference alone
    v' = sum (1 - d^2 / u) / 2u l'     because dl/du = 1 / 2u - d^2 / 2u^2, summed over the elements
                                       that share a variance. du/dv is taken as 1 even where u is
                                       eps, as in torch, so that a variance of 0 can grow again
  For second derivatives d is an output too, whose gradient d' comes from x', t' and v':
    x' = x' + d'                       because dd/dx = 1
    t' = t' - d'                       because dd/dt = -1
Saves      d and v, which is small where it is shared; x and t would be one tensor more
Cost       4M flops and M logarithms forward, 6M flops backward
Source     derived here; the loss: Nix and Weigend 1994, "Estimating the mean and variance of the
           target probability distribution". Under autocast on a CPU 16-bit tensors stay so, as
           torch composes this loss from operations that are not cast there
"""

from math import log, pi
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
    widened,
    with_more,
)
from bptrain.ops.second_derivatives import own_product


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    t: bool
    v: bool


class Options(NamedTuple):
    """The constants of one call."""

    full: bool
    eps: float
    reduction: Reduction


class Saved(NamedTuple):
    """What the backward pass reads."""

    d: Tensor
    v: Tensor
    options: Options


def forward(
    x: Tensor, t: Tensor, v: Tensor, options: Options, needs: Needs
) -> tuple[tuple[Tensor, Tensor], Saved]:
    """Return L in float32 or wider, and d."""
    x, t, u = widened(x, t, v)
    u = u.clamp_min(options.eps)
    d = x - t
    losses = (d * d).div_(u).add_(u.log()).mul_(0.5)
    if options.full:
        losses += 0.5 * log(2 * pi)
    loss = reduced(losses, options.reduction, losses.numel())
    return (loss, d), Saved(d, v, options)


def backward(
    grad_loss: Tensor, more_d: Tensor | None, saved: Saved, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x', t' and v', each None if it is not needed."""
    d, v, options = saved
    (u,) = widened(v)
    u = u.clamp_min(options.eps)
    grad_losses = grad_of_elements(grad_loss, options.reduction, d.numel())
    d_over_u = d / u
    grad_x = grad_t = grad_v = None
    if needs.x:
        grad_x = with_more(d_over_u * grad_losses, more_d)
    if needs.t:
        grad_t = with_more(d_over_u * -grad_losses, None if more_d is None else -more_d)
    if needs.v:
        slope = (1 - d * d_over_u).mul_(0.5 / u)
        grad_v = own_product(slope, grad_losses).sum_to_size(v.shape)
    return grad_x, grad_t, grad_v


gaussian_nll_loss_function = operation(
    forward, backward, precision=float32_loss("cuda"), optional_gradients=(1,)
)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the negative log-likelihood of `target` under N(`input`, `var`).

    var has the shape of input, or size 1 in one axis, or lacks the last axis, or is one number.
    Raises ValueError for other shapes, and for a negative number. Negative elements of a tensor
    count as `eps`: torch raises, for which it waits for the device.
    """
    checked_reduction(reduction)
    checked_shapes(input=input, target=target)
    variance = _variance(input, var)
    options = Options(full, eps, reduction)
    loss, _ = gaussian_nll_loss_function(input, target, variance, options)
    return loss


def _variance(input: Tensor, var: Tensor | float) -> Tensor:
    """Return the variance as a tensor that broadcasts to the shape of input."""
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError(f"var is {var}, expected at least 0")
        return input.new_full([1] * input.dim(), var)
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return var.unsqueeze(-1)
    sizes = zip(input.shape, var.shape, strict=False)
    differing = [v for x, v in sizes if x != v]
    if var.dim() != input.dim() or differing != [1]:
        raise ValueError(
            f"var has shape {list(var.shape)}, expected {list(input.shape)} as input has, or 1 in "
            "one axis, or no last axis"
        )
    return var
