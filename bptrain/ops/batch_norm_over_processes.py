"""Batch normalization of a batch of which several processes have some rows each.

Shapes     x, y [N, C, ...]   w, b, m, v, r [C]
           n counts a process's own values of one channel, sum_all those of all processes: there
           are M of them. The channels are independent, so that C is left out below
Forward    m   = sum_all x_n / M           v = sum_all (x_n - m)^2 / M
           r   = (v + e)^(-1/2)            h_n = r (x_n - m)
           y_n = w h_n + b
Backward   writing x' for dL/dx, given y' of a process's own values
    b'   = sum_n y'_n       because dy_n/db = 1; a process's part, as all parameters' gradients are
                            added over the processes after the backward pass
    w'   = sum_n y'_n h_n   because dy_n/dw = h_n, likewise a process's part
    h'_n = w y'_n           because dy_n/dh_n = w
    x'_n = r (h'_n - sum_all h' / M - h_n sum_all (h' h) / M)
                            because m and v are of all values: one value moves the outputs of every
                            process through them, and the two means that batch_norm.py derives are
                            over all values
Saves      x, m, r (if x' or w' is needed), w, M (only if x' is needed); not h or y
Cost       as batch_norm, and three exchanges: 1 + C and C numbers forward, 2C backward
Source     derived here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.channels_last import laid_out_as
from bptrain.ops.operation import operation
from bptrain.ops.over_processes import sum_over_processes
from bptrain.ops.statistics import (
    Gradients,
    Needs,
    along_channels,
    as_parameters,
    sum_by_channel,
    wide_dtype,
)

Outputs = tuple[Tensor, Tensor | None, Tensor | None]  # y, and m and v as they become


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [N, C, ...]
    w: Tensor | None  # [C]
    m: Tensor | None  # [C], as r in float32 for 16-bit x
    r: Tensor | None  # [C]
    M: Tensor | None  # [1]


class Options(NamedTuple):
    """The constants of one call."""

    share: float  # of the batch in what the running statistics become: torch's momentum
    e: float


def forward(
    x: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    running_m: Tensor | None,
    running_v: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return y [N, C, ...], and what the running statistics [C] become, v's over M - 1."""
    share, e = options
    wide = x.to(wide_dtype(x))
    own = wide.new_full((1,), x.numel() // x.shape[1])
    M, sums = sum_over_processes(torch.cat([own, sum_by_channel(wide)])).split([1, x.shape[1]])
    m = sums / M
    v = sum_over_processes(sum_by_channel((wide - along_channels(m, x)).square())) / M
    r = (v + e).rsqrt()
    h = along_channels(r, x) * (wide - along_channels(m, x))
    y = h if w is None else along_channels(w, x) * h
    y = y if b is None else y + along_channels(b, x)
    y = laid_out_as(y.to(x.dtype), x)
    saved = Saved(None, None, None, None, None)
    if needs.x or needs.w:
        of_x = (as_parameters(x, w, b, m.shape)[0], M.clone()) if needs.x else (None, None)
        saved = Saved(x, of_x[0], m, r, of_x[1])
    if running_m is None or running_v is None:
        return (y, None, None), saved
    after_m = (1 - share) * running_m + share * m
    after_v = (1 - share) * running_v + share * v * M / (M - 1).clamp(min=1)
    return (y, after_m, after_v), saved


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], and the process's parts of w' and b' [C]; None if not needed."""
    x, w, m, r, M = saved
    grad_x = grad_w = None
    grad_b = sum_by_channel(grad_y) if needs.b else None
    if x is not None and m is not None and r is not None:
        r = along_channels(r, x)
        h = r * (x - along_channels(m, x))
        grad_w = sum_by_channel(grad_y * h) if needs.w else None
        if needs.x and M is not None:
            grad_h = grad_y if w is None else along_channels(w, x) * grad_y
            sums = torch.cat([sum_by_channel(grad_h), sum_by_channel(grad_h * h)])
            mean_h, mean_hh = (sum_over_processes(sums) / M).chunk(2)
            grad_x = r * (grad_h - along_channels(mean_h, x) - h * along_channels(mean_hh, x))
            grad_x = laid_out_as(grad_x.to(x.dtype), x)
    return grad_x, grad_w, grad_b


batch_norm_over_processes_function = operation(forward, backward, non_differentiable=(1, 2))
