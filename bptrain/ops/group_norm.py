"""Group normalisation: each group of a sample's channels to mean 0 and deviation 1, then scaled.

Shapes     x, y [N, C, ...]   w, b [C]   m, v, r [N, G]
           G groups of C/G neighbouring channels; i counts the M = (C/G) H W elements of one group
           of one sample, c(i) is the channel of element i. n and g are left out below: each group
           of each sample is a stranger to the others
Forward    m   = sum_i x_i / M                 v   = sum_i (x_i - m)^2 / M
           r   = (v + eps)^(-1/2)              h_i = r (x_i - m)
           y_i = w_c(i) h_i + b_c(i)
Backward   writing x' for dL/dx, given y'
    b'_c = sum y'_i                   because dy_i/db_c = [c(i) = c]; over all samples and places
    w'_c = sum y'_i h_i               because dy_i/dw_c = h_i [c(i) = c]; over the same
    h'_i = w_c(i) y'_i                because dy_i/dh_i = w_c(i)
    r'   = sum_i h'_i (x_i - m)       because h_i = r (x_i - m)
         = sum_i h'_i h_i / r
    v'   = -(1/2) r^2 sum_i h'_i h_i  because dr/dv = -(1/2) r^3
    m'   = -r sum_i h'_i              because dh_i/dm = -r, and dv/dm = -(2/M) sum_i (x_i - m) = 0
    x'_i = r h'_i + m' / M + v' (2/M) (x_i - m)
                                      because dh_i/dx_i = r, dm/dx_i = 1/M and
                                      dv/dx_i = (2/M) (x_i - m), with x_i - m = h_i / r:
    x' = r (h' - mean(h') - h mean(h' h))
                                      because the second term is then -r mean(h') and the third
                                      -r h mean(h' h); the means run over a group
  As the channels of a group share the means, the kernel first sums y' and y' x by channel, weighs
  the sums with w and so has mean(h') and mean(h' h) of each group from a single pass.
Keeps      x, m, r (only if x' or w' is wanted), w (only if x' is wanted); not h or y
Cost       about 8NCHW flops forward, 10NCHW backward: two passes over memory each
Source     derived here; Wu and He 2018, "Group Normalization", equations 1, 2, 6 and 7
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_float32
from bptrain.ops.fused import carried_out_by
from bptrain.ops.statistics import as_parameters, checked_by_channel, layout_of, stand_in

aten = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [N, C, ...], dense
    w: Tensor | None  # [C]
    m: Tensor | None  # [N, G], as r in float32 for 16-bit x
    r: Tensor | None  # [N, G]


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    w: bool
    b: bool


def forward(
    x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, eps: float
) -> tuple[Tensor, Saved]:
    """Return y [N, C, ...] and all that a backward pass may read."""
    w, b = as_parameters(x, w, b, (x.shape[1],))
    x = x.contiguous(memory_format=_layout(x))
    y, m, r = aten.native_group_norm(x, w, b, *_sizes(x), groups, eps)
    return y, Saved(x, w, m, r)


def backward_in_one_pass(grad_y: Tensor, saved: Saved, groups: int, needs: Needs) -> Gradients:
    """Return the same from the kernel, which passes twice over memory."""
    x, w, m, r = saved
    if x is None or m is None or r is None:
        return None, None, _sum_by_channel(grad_y) if needs.b else None
    if not needs.x:  # the kernel gives w' the form of the w that it is handed
        w = stand_in(x, (x.shape[1],))
    grad_y = grad_y.contiguous(memory_format=_layout(x))
    grads: Gradients = aten.native_group_norm_backward(
        grad_y, x, m, r, w, *_sizes(x), groups, list(needs)
    )
    return grads


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved, groups: int, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C], each None if it is not wanted."""
    x, w, m, r = saved
    grad_x = grad_w = None
    grad_b = _sum_by_channel(grad_y) if needs.b else None
    if x is not None and m is not None and r is not None:
        N, C, places = _sizes(x)
        by_group = (N, groups, C // groups * places)  # [N, G, M]
        m, r = m.unsqueeze(2), r.unsqueeze(2)
        h = r * (x.reshape(by_group) - m)
        grad_w = _sum_by_channel(grad_y * h.view(x.shape)) if needs.w else None
        if needs.x:
            w_c = 1 if w is None else w.view(-1, *[1] * (x.dim() - 2))
            grad_h = (w_c * grad_y).reshape(by_group)
            mean_h, mean_hh = (each.mean(2, keepdim=True) for each in (grad_h, grad_h * h))
            grad_x = (r * (grad_h - mean_h - h * mean_hh)).view(x.shape)
    return grad_x, grad_w, grad_b


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Return N, C and H W."""
    return x.shape[0], x.shape[1], x.shape[2:].numel()


def _layout(x: Tensor) -> torch.memory_format:
    """Return the layout to compute in: CUDA's kernel knows the contiguous one alone."""
    return layout_of(x) if x.device.type == "cpu" else torch.contiguous_format


def _sum_by_channel(values: Tensor) -> Tensor:
    """Return the sum of each channel [C]."""
    return values.sum([0, *range(2, values.dim())])


class GroupNormFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_float32("cuda")
    def forward(
        ctx: Any, x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, eps: float
    ) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        y, saved = forward(x, groups, w, b, eps)
        needs_x, _, needs_w, needs_b, _ = ctx.needs_input_grad
        if not needs_x:
            saved = saved._replace(w=None)
        is_read = needs_x or needs_w
        ctx.save_for_backward(*(saved if is_read else Saved(None, None, None, None)))
        ctx.groups, ctx.needs = groups, Needs(needs_x, needs_w, needs_b)
        return y

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_y: Tensor
    ) -> tuple[Tensor | None, None, Tensor | None, Tensor | None, None]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        grad_x, grad_w, grad_b = backward(grad_y, saved, ctx.groups, ctx.needs)
        return grad_x, None, grad_w, grad_b, None


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return `input` [N, C, ...] normalised by groups of channels, times `weight` plus `bias` [C].

    Raises ValueError for other shapes, a C that `num_groups` does not divide, and, as torch, one
    sample whose groups are single values: all would become 0.
    """
    checked_by_channel(input, weight=weight, bias=bias)
    if num_groups < 1 or input.shape[1] % num_groups:
        raise ValueError(
            f"num_groups is {num_groups}, expected a divisor of the {input.shape[1]} channels"
        )
    if input.numel() == num_groups:
        raise ValueError(
            f"input has shape {list(input.shape)}: expected more than 1 value in each of the "
            f"{num_groups} groups"
        )
    y: Tensor = GroupNormFunction.apply(input, num_groups, weight, bias, eps)
    return y
