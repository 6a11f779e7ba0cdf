"""Group normalization: each group of channels to mean 0, standard deviation 1, then scaled.

Shapes     x, y [N, C, ...]   w, b [C]   m, v, r [N, G]
           G groups of C/G neighboring channels; i counts the M = (C/G) H W elements of one group
           of one sample, c(i) is the channel of element i. n and g are left out below: each group
           of each sample is independent of the others
Forward    m   = sum_i x_i / M                 v   = sum_i (x_i - m)^2 / M
           r   = (v + eps)^(-1/2)              h_i = r (x_i - m)
           y_i = w_c(i) h_i + b_c(i)
Backward   writing x' for dL/dx, given y'
    b'_c = sum y'_i                   because dy_i/db_c = [c(i) = c]; over all samples and positions
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
  As the channels of a group share the means, the kernel first sums y' and y' x by channel, weights
  the sums by w and so has mean(h') and mean(h' h) of each group from a single pass.
Saves      x, m, r (only if x' or w' is needed), w (only if x' is needed); not h or y
Cost       about 8NCHW flops forward, 10NCHW backward: two passes over memory each
Source     derived here; Wu and He 2018, "Group Normalization", equations 1, 2, 6 and 7
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.channels_last import is_channels_last, laid_out
from bptrain.ops.operation import operation
from bptrain.ops.precision import float32_on
from bptrain.ops.statistics import (
    Gradients,
    Needs,
    along_channels,
    as_parameters,
    checked_by_channel,
    placeholder,
    sum_by_channel,
    wide_dtype,
)

aten = torch.ops.aten


Statistics = tuple[Tensor, Tensor]  # m and r
Constants = tuple[int, float]  # the number of groups and eps


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [N, C, ...], dense
    w: Tensor | None  # [C]
    m: Tensor | None  # [N, G], as r in float32 for 16-bit x
    r: Tensor | None  # [N, G]
    groups: int
    eps: float

    @classmethod
    def of(
        cls, x: Tensor, w: Tensor | None, statistics: Statistics, constants: Constants, needs: Needs
    ) -> "Saved":
        """Return what the needed gradients read."""
        if not (needs.x or needs.w):
            return cls(None, None, None, None, *constants)
        return cls(x, w if needs.x else None, *statistics, *constants)


def forward(
    x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, eps: float, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y [N, C, ...]."""
    grouped = x.to(wide_dtype(x)).reshape(_by_group(x, groups))  # [N, G, M]
    m, r = _statistics(grouped, eps)
    h = (r.unsqueeze(2) * (grouped - m.unsqueeze(2))).view(x.shape)
    y = h if w is None else along_channels(w, x) * h
    y = y if b is None else y + along_channels(b, x)
    y = laid_out(y.to(x.dtype), _channels_last(x))
    w = as_parameters(x, w, b, (x.shape[1],))[0]
    return y, Saved.of(x, w, (m, r), (groups, eps), needs)


def _statistics(grouped: Tensor, eps: float) -> Statistics:
    """Return m and r [N, G] of groups [N, G, M]."""
    m = grouped.mean(2)
    v = (grouped - m.unsqueeze(2)).square().mean(2)
    return m, (v + eps).rsqrt()


def reconnect(saved: Saved) -> Saved:
    """Return Saved with m and r computed from x again."""
    x = saved.x
    if x is None:
        return saved
    m, r = _statistics(x.to(wide_dtype(x)).reshape(_by_group(x, saved.groups)), saved.eps)
    return saved._replace(m=m, r=r)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C], each None if it is not needed."""
    x, w, m, r, groups, _ = saved
    grad_x = grad_w = None
    grad_b = sum_by_channel(grad_y) if needs.b else None
    if x is not None and m is not None and r is not None:
        by_group = _by_group(x, groups)
        m, r = m.unsqueeze(2), r.unsqueeze(2)
        h = r * (x.reshape(by_group) - m)
        grad_w = sum_by_channel(grad_y * h.view(x.shape)) if needs.w else None
        if needs.x:
            grad_h = (grad_y if w is None else along_channels(w, x) * grad_y).reshape(by_group)
            mean_h, mean_hh = (each.mean(2, keepdim=True) for each in (grad_h, grad_h * h))
            grad_x = (r * (grad_h - mean_h - h * mean_hh)).view(x.shape).to(x.dtype)
            grad_x = laid_out(grad_x, _channels_last(x))
    return grad_x, grad_w, grad_b


def fused_forward(
    x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, eps: float, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    w, b = as_parameters(x, w, b, (x.shape[1],))
    y, m, r = aten.native_group_norm(x, w, b, *_sizes(x), groups, eps)
    return y, Saved.of(x, w, (m, r), (groups, eps), needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the gradients from one kernel, which passes twice over memory."""
    x, w, m, r, groups, _ = saved
    if x is None or m is None or r is None:
        return None, None, sum_by_channel(grad_y) if needs.b else None
    if not needs.x:  # the kernel gives w' the shape and dtype of the w that it is given
        w = placeholder(x, (x.shape[1],))
    grad_y = laid_out(grad_y, _channels_last(x))
    grads: Gradients = aten.native_group_norm_backward(
        grad_y, x, m, r, w, *_sizes(x), groups, list(needs)
    )
    return grads


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Return N, C and H W."""
    return x.shape[0], x.shape[1], x.shape[2:].numel()


def _by_group(x: Tensor, groups: int) -> tuple[int, int, int]:
    """Return N, G and M."""
    N, C, positions = _sizes(x)
    return N, groups, C // groups * positions


def _channels_last(x: Tensor) -> bool:
    """Return whether to compute with the channels last: CUDA's kernel cannot."""
    return x.device.type == "cpu" and is_channels_last(x)


group_norm_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    precision=float32_on("cuda"),
    reconnect=reconnect,
)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return `input` [N, C, ...] normalized by groups of channels, times `weight` plus `bias` [C].

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
    input = laid_out(input, _channels_last(input))
    return group_norm_function(input, num_groups, weight, bias, eps)
