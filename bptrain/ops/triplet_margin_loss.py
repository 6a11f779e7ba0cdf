"""Triplet margin loss: an anchor should be nearer to the positive than to the negative.

Shapes     a anchor, b positive, c negative [..., D]: the same shape, N triplets
Forward    u = a - b + eps      v = a - c + eps      z = b - c + eps (with swap)
           |u| = (sum_d |u_d|^p)^(1/p)
           f_n = |v_n|, or with swap min(|v_n|, |z_n|): the negative's nearer distance
           l_n = max(0, margin + |u_n| - f_n)
           L   = l  (none)   sum_n l_n  (sum)   sum_n l_n / N  (mean)
Backward   writing a' for dL/da, given L'; l' is L', or L' / N for the mean, and 0 where
           margin + |u| - f <= 0
    u' = l' grad|u|           because dl/d|u| = 1, and below
    v' = -r l' grad|v|        because dl/df = -1, and r = df/d|v|: 1 without swap, else 1, 1/2 or 0
                              where |v| is less than, equal to or more than |z|
    z' = -(1 - r) l' grad|z|  because the rest goes to |z|
    a' = u' + v'              because u and v grow with a
    b' = z' - u'              because u falls with b and z grows with it
    c' = -v' - z'             because v and z fall with c
           The gradient of a norm, d|u|/du_d = sign(u_d) (|u_d| / |u|)^(p-1), because
           |u|^p = sum |u_d|^p and both sides are differentiated; 0 where |u| = 0. For p = infinity
           it is sign(u_d) at the largest |u_d|, shared equally by those that tie
Keeps      u and v (z with swap), where a, b, c are one tensor more; and the norms
Cost       6ND flops forward, 8ND backward for p = 2 (each about half as much again with swap)
Source     Balntas et al. 2016, "Learning shallow convolutional feature descriptors with triplet
           losses", which has the swap
"""

from math import inf
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

    a: bool
    b: bool
    c: bool


class Options(NamedTuple):
    """The constants of one call."""

    margin: float
    p: float
    eps: float
    swap: bool
    reduction: Reduction


class Saved(NamedTuple):
    """What the backward pass reads; differences [..., D], norms [...]."""

    u: Tensor | None
    v: Tensor | None
    z: Tensor | None
    norm_u: Tensor
    norm_v: Tensor
    norm_z: Tensor | None  # with swap


def forward(
    a: Tensor, b: Tensor, c: Tensor, options: Options, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return L in float32 or wider, and what the backward pass reads."""
    a, b, c = widened(a, b, c)
    u, v = (a - b).add_(options.eps), (a - c).add_(options.eps)
    norm_u, norm_v = _norm(u, options.p), _norm(v, options.p)
    z = norm_z = None
    if options.swap:
        z = (b - c).add_(options.eps)
        norm_z = _norm(z, options.p)
    far = norm_v if norm_z is None else torch.minimum(norm_v, norm_z)
    losses = (norm_u - far).add_(options.margin).clamp_min_(0)
    loss = reduced(losses, options.reduction, losses.numel())
    return loss, Saved(
        u if needs.a or needs.b else None,
        v if needs.a or needs.c else None,
        z if needs.b or needs.c else None,
        norm_u,
        norm_v,
        norm_z,
    )


def backward(
    grad_loss: Tensor, saved: Saved, options: Options, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return a', b' and c', each None if it is not wanted."""
    u, v, z, norm_u, norm_v, norm_z = saved
    far = norm_v if norm_z is None else torch.minimum(norm_v, norm_z)
    is_active = norm_u - far + options.margin > 0
    pull = torch.where(is_active, spread(grad_loss, options.reduction, norm_u.numel()), 0)
    r = 1 if norm_z is None else 0.5 * (norm_v < norm_z) + 0.5 * (norm_v <= norm_z)

    grad_u = grad_v = grad_z = grad_a = grad_b = grad_c = None
    if u is not None:
        grad_u = _norm_gradient(u, norm_u, options.p, pull)
    if v is not None:
        grad_v = _norm_gradient(v, norm_v, options.p, -r * pull)
    if z is not None and norm_z is not None:
        grad_z = _norm_gradient(z, norm_z, options.p, (r - 1) * pull)
    if needs.a and grad_u is not None and grad_v is not None:
        grad_a = grad_u + grad_v
    if needs.b and grad_u is not None:
        grad_b = -grad_u if grad_z is None else grad_z - grad_u
    if needs.c and grad_v is not None:
        grad_c = -grad_v if grad_z is None else -grad_v - grad_z
    return grad_a, grad_b, grad_c


def _norm(u: Tensor, p: float) -> Tensor:
    """Return |u| [...] of vectors [..., D]."""
    norm: Tensor = torch.linalg.vector_norm(u, p, dim=-1)
    return norm


def _norm_gradient(u: Tensor, norm: Tensor, p: float, pull: Tensor) -> Tensor:
    """Return `pull` [...] times the gradient of |u| by u, [..., D]."""
    norm, pull = norm.unsqueeze(-1), pull.unsqueeze(-1)
    if p == 0:
        return torch.zeros_like(u)  # |u| counts the elements that are not 0: a step function
    if p == 1:
        return u.sign() * pull
    if p == 2:
        return u * torch.where(norm == 0, 0, pull / norm)
    if p == inf:
        is_largest = u.abs() == norm
        return u.sign().mul_(is_largest).mul_(pull / is_largest.sum(-1, keepdim=True))
    # the quotient is raised to the power, as either of its sides alone may overflow
    slope = (u.abs() / norm).pow_(p - 1).mul_(u.sign())
    return torch.where(u == 0, 0, slope).mul_(pull)


class TripletMarginLossFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @loss_in_float32("cpu", "cuda")
    def forward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, options: Options) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs, ctx.options = Needs(*ctx.needs_input_grad[:3]), options
        loss, saved = forward(a, b, c, options, ctx.needs)
        ctx.save_for_backward(*saved)
        return loss

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_loss: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        return *backward(grad_loss, Saved(*ctx.saved_tensors), ctx.options, ctx.needs), None


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return max(0, margin + |anchor - positive| - |anchor - negative|), in the p-norm.

    With `swap` the negative's distance to the positive counts where that is the smaller. All of
    one shape [..., D]; returns a scalar, or [...] for 'none'. Raises ValueError where the shapes
    differ, which torch would broadcast, unless margin > 0, and unless p >= 0.
    """
    checked_reduction(reduction)
    checked_shapes(anchor=anchor, positive=positive, negative=negative)
    if anchor.dim() == 0:
        raise ValueError("anchor is a scalar, expected vectors [..., D]")
    if not margin > 0:
        raise ValueError(f"margin is {margin}, expected more than 0")
    if not p >= 0:
        raise ValueError(f"p is {p}, expected at least 0")
    options = Options(margin, p, eps, swap, reduction)
    loss: Tensor = TripletMarginLossFunction.apply(anchor, positive, negative, options)
    return loss
