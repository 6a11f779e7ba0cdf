"""Triplet margin loss: an anchor should be nearer to the positive than to the negative.

Shapes     a anchor, b positive, c negative [..., D]: the same shape, N triplets
Forward    u = a - b + eps      v = a - c + eps      z = b - c + eps (with swap)
           |u| = (sum_d |u_d|^p)^(1/p)      max_d |u_d| for p = infinity, the number of u_d other
                                            than 0 for p = 0
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
  For second derivatives u, v and z are outputs too, if they are saved; what their gradients add
  comes from a', b' and c', and goes the same way.
           The gradient of a norm, d|u|/du_d = sign(u_d) (|u_d| / |u|)^(p-1), because
           |u|^p = sum |u_d|^p and both sides are differentiated; 0 where |u| = 0. For p = infinity
           it is sign(u_d) at the largest |u_d|, shared equally by those that tie
Saves      u and v (z with swap), where a, b, c are one tensor more, each if a gradient that is
           needed reads it; and the norms
Cost       6ND flops forward, 8ND backward for p = 2 (each about half as much again with swap)
Source     Balntas et al. 2016, "Learning shallow convolutional feature descriptors with triplet
           losses", which has the swap
"""

from collections.abc import Callable
from math import inf
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
    widened,
    with_more,
)
from bptrain.ops.second_derivatives import own_product


class Needs(NamedTuple):
    """Which gradients are needed."""

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


Outputs = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]  # L, u, v and z


class Saved(NamedTuple):
    """What the backward pass reads; differences [..., D], norms [...]."""

    u: Tensor | None  # if a' or b' is needed
    v: Tensor | None  # if a' or c' is needed
    z: Tensor | None  # with swap, if b' or c' is needed
    norm_u: Tensor
    norm_v: Tensor
    norm_z: Tensor | None  # with swap
    options: Options


def forward(
    a: Tensor, b: Tensor, c: Tensor, options: Options, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return L in float32 or wider, and the differences that are saved."""
    return _loss(_norm, a, b, c, options, needs)


def fused_forward(
    a: Tensor, b: Tensor, c: Tensor, options: Options, needs: Needs
) -> tuple[Outputs, Saved]:
    """Return the same with each norm from one kernel."""
    return _loss(_fused_norm, a, b, c, options, needs)


def _loss(
    norm: Callable[[Tensor, float], Tensor],
    a: Tensor,
    b: Tensor,
    c: Tensor,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return L = max(0, margin + |u| - f), reduced, u, v and z."""
    a, b, c = widened(a, b, c)
    u, v = (a - b).add_(options.eps), (a - c).add_(options.eps)
    norm_u, norm_v = norm(u, options.p), norm(v, options.p)
    z = norm_z = None
    if options.swap:
        z = (b - c).add_(options.eps)
        norm_z = norm(z, options.p)
    far = norm_v if norm_z is None else torch.minimum(norm_v, norm_z)
    losses = (norm_u - far).add_(options.margin).clamp_min_(0)
    loss = reduced(losses, options.reduction, losses.numel())
    differences = (
        u if needs.a or needs.b else None,
        v if needs.a or needs.c else None,
        z if needs.b or needs.c else None,
    )
    return (loss, *differences), Saved(*differences, norm_u, norm_v, norm_z, options)


def reconnect(saved: Saved) -> Saved:
    """Return Saved with the norms computed from u, v and z again; of None it is a constant."""
    u, v, z, norm_u, norm_v, norm_z, options = saved
    return saved._replace(
        norm_u=norm_u.detach() if u is None else _norm(u, options.p),
        norm_v=norm_v.detach() if v is None else _norm(v, options.p),
        norm_z=None if norm_z is None else norm_z.detach() if z is None else _norm(z, options.p),
    )


def _norm(u: Tensor, p: float) -> Tensor:
    """Return |u| [...] of vectors [..., D]."""
    if p == 0:
        return (u != 0).sum(-1, dtype=u.dtype)
    if p == inf:
        return u.abs().amax(-1)
    powers: Tensor = u.abs() ** p
    return powers.sum(-1) ** (1 / p)


def _fused_norm(u: Tensor, p: float) -> Tensor:
    """Return |u| from one kernel."""
    norm: Tensor = torch.linalg.vector_norm(u, p, dim=-1)
    return norm


def backward(
    grad_loss: Tensor,
    more_u: Tensor | None,
    more_v: Tensor | None,
    more_z: Tensor | None,
    saved: Saved,
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return a', b' and c', each None if it is not needed; `more` is added to u', v' and z'."""
    u, v, z, norm_u, norm_v, norm_z, options = saved
    far = norm_v if norm_z is None else torch.minimum(norm_v, norm_z)
    is_active = norm_u - far + options.margin > 0
    grad_losses = grad_of_elements(grad_loss, options.reduction, norm_u.numel())
    grad_losses = torch.where(is_active, grad_losses, 0)
    r = 1 if norm_z is None else 0.5 * (norm_v < norm_z) + 0.5 * (norm_v <= norm_z)

    grad_u = grad_v = grad_z = grad_a = grad_b = grad_c = None
    if u is not None:
        grad_u = with_more(_through_norm(grad_losses, u, norm_u, options.p), more_u)
    if v is not None:
        grad_v = with_more(_through_norm(-r * grad_losses, v, norm_v, options.p), more_v)
    if z is not None and norm_z is not None:
        grad_z = with_more(_through_norm((r - 1) * grad_losses, z, norm_z, options.p), more_z)
    if needs.a and grad_u is not None and grad_v is not None:
        grad_a = grad_u + grad_v
    if needs.b and grad_u is not None:
        grad_b = -grad_u if grad_z is None else grad_z - grad_u
    if needs.c and grad_v is not None:
        grad_c = -grad_v if grad_z is None else -grad_v - grad_z
    return grad_a, grad_b, grad_c


def _through_norm(grad_norm: Tensor, u: Tensor, norm: Tensor, p: float) -> Tensor:
    """Return u' [..., D] = |u|' times the gradient of |u| by u; norms [...]."""
    norm, grad_norm = norm.unsqueeze(-1), grad_norm.unsqueeze(-1)
    if p == 0:
        return torch.zeros_like(u)  # |u| counts the elements that are not 0: a step function
    if p == 1:
        return u.sign() * grad_norm
    if p == 2:
        return u * torch.where(norm == 0, 0, grad_norm / norm)
    if p == inf:
        is_largest = u.abs() == norm
        return own_product(u.sign().mul_(is_largest), grad_norm / is_largest.sum(-1, keepdim=True))
    # the quotient is raised to the power, as either of its sides alone may overflow
    slope = (u.abs() / norm).pow_(p - 1).mul_(u.sign())
    return own_product(torch.where(u == 0, 0, slope), grad_norm)


triplet_margin_loss_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    precision=float32_loss("cpu", "cuda"),
    optional_gradients=(1, 2, 3),
    reconnect=reconnect,
)


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
    loss, *_ = triplet_margin_loss_function(anchor, positive, negative, options)
    return loss
