"""Batch normalization: each channel to mean 0, standard deviation 1, then scaled.

Shapes     x, y [N, C, ...]   w, b, m, v, r [C]
           n counts the M = N H W values of one channel; the channels are independent, so that C is
           left out below
Forward    m   = sum_n x_n / M             v = sum_n (x_n - m)^2 / M
           r   = (v + e)^(-1/2)            h_n = r (x_n - m)
           y_n = w h_n + b
           in evaluation m and v are constants, the running statistics: batch_norm_by_running.py
Backward   writing x' for dL/dx, given y'
    b'   = sum_n y'_n                 because dy_n/db = 1
    w'   = sum_n y'_n h_n             because dy_n/dw = h_n
    h'_n = w y'_n                     because dy_n/dh_n = w
  h depends on x in three ways: directly, through the mean and through the variance. Backward:
    r'   = sum_n h'_n (x_n - m)       because h_n = r (x_n - m)
         = sum_n h'_n h_n / r
    v'   = -(1/2) r^3 r'              because dr/dv = -(1/2) (v + e)^(-3/2) = -(1/2) r^3
         = -(1/2) r^2 sum_n h'_n h_n
    m'   = -r sum_n h'_n              because dh_n/dm = -r; nothing comes through v, because
                                      dv/dm = -(2/M) sum_n (x_n - m) = 0
    x'_n = r h'_n + m' / M + v' (2/M) (x_n - m)
                                      because dh_n/dx_n = r, dm/dx_n = 1/M and, m held fixed,
                                      dv/dx_n = (2/M) (x_n - m)
  With m' and v' put in, and x_n - m = h_n / r, the three terms collapse into one line:
    x' = r (h' - mean(h') - h mean(h' h))
                                      because m' / M = -r mean(h') and
                                      v' (2/M) (x_n - m) = -r h_n mean(h' h)
  which is h' without its part along 1 and its part along h: shifting or scaling a channel
  does not change y, so the gradient has no part in these directions.
Saves      x, m, r (only if x' or w' is needed), w (only if x' is needed); not h or y
Cost       about 8NCHW flops forward, 10NCHW backward: two passes over memory each
Source     derived here; Ioffe and Szegedy 2015, "Batch Normalization", section 3, whose gradients
           are not collapsed; the running variance is over M - 1, as in torch
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.batch_norm_by_running import batch_norm_by_running_function
from bptrain.ops.batch_norm_over_processes import batch_norm_over_processes_function
from bptrain.ops.channels_last import laid_out_as
from bptrain.ops.operation import operation
from bptrain.ops.over_processes import is_synchronized
from bptrain.ops.statistics import (
    Gradients,
    Needs,
    along_channels,
    as_parameter,
    as_parameters,
    checked_by_channel,
    fused_parameter_gradients,
    sum_by_channel,
    wide_dtype,
)

aten = torch.ops.aten
Statistics = tuple[Tensor, Tensor]  # m and r [C]
Outputs = tuple[Tensor, Tensor | None, Tensor | None]  # y, and m and v as they become


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [N, C, ...]
    w: Tensor | None  # [C]
    m: Tensor | None  # [C], as r in float32 for 16-bit x
    r: Tensor | None  # [C]
    e: float

    @classmethod
    def of(
        cls, x: Tensor, w: Tensor | None, statistics: Statistics, e: float, needs: Needs
    ) -> "Saved":
        """Return what the needed gradients read."""
        if not (needs.x or needs.w):
            return cls(None, None, None, None, e)
        return cls(x, w if needs.x else None, *statistics, e)


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
    m = _mean(wide)
    v = _mean((wide - along_channels(m, x)).square())
    r = (v + e).rsqrt()
    h = along_channels(r, x) * (wide - along_channels(m, x))
    y = h if w is None else along_channels(w, x) * h
    y = y if b is None else y + along_channels(b, x)
    y = laid_out_as(y.to(x.dtype), x)
    saved = Saved.of(x, as_parameters(x, w, b, m.shape)[0], (m, r), e, needs)
    if running_m is None or running_v is None:
        return (y, None, None), saved
    M = x.numel() // x.shape[1]
    after_m = (1 - share) * running_m + share * m
    after_v = (1 - share) * running_v + share * v * M / (M - 1)
    return (y, after_m, after_v), saved


def reconnect(saved: Saved) -> Saved:
    """Return Saved with m and r computed from x again; running statistics stay as they are."""
    if saved.x is None:
        return saved
    x = saved.x.to(wide_dtype(saved.x))
    m = _mean(x)
    v = _mean((x - along_channels(m, x)).square())
    return saved._replace(m=m, r=(v + saved.e).rsqrt())


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C], each None if it is not needed."""
    x, w, m, r, _ = saved
    grad_x = grad_w = None
    grad_b = sum_by_channel(grad_y) if needs.b else None
    if x is not None and m is not None and r is not None:
        r = along_channels(r, x)
        h = r * (x - along_channels(m, x))
        grad_w = sum_by_channel(grad_y * h) if needs.w else None
        if needs.x:
            grad_h = grad_y if w is None else along_channels(w, x) * grad_y
            mean_h, mean_hh = (along_channels(_mean(each), x) for each in (grad_h, grad_h * h))
            grad_x = r * (grad_h - mean_h - h * mean_hh)
            grad_x = laid_out_as(grad_x.to(x.dtype), x)
    return grad_x, grad_w, grad_b


def fused_forward(
    x: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    running_m: Tensor | None,
    running_v: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return the same from one kernel."""
    share, e = options
    w, b = as_parameters(x, w, b, (x.shape[1],))
    if running_m is None or running_v is None:
        y, m, r = aten.native_batch_norm(x, w, b, None, None, True, share, e)
        return (y, None, None), Saved.of(x, w, (m, r), e, needs)
    # the kernel's own averages, v's over M - 1, come out: an input is never modified
    before = (as_parameter(x, each) for each in (running_m, running_v))
    y, m, r, after_m, after_v = aten._native_batch_norm_legit_functional(
        x, w, b, *before, True, share, e
    )
    return (y, after_m, after_v), Saved.of(x, w, (m, r), e, needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the gradients from one kernel, which passes twice over memory."""
    x, w, m, r, _ = saved
    if x is None or m is None or r is None:
        return None, None, sum_by_channel(grad_y) if needs.b else None
    if not needs.x:
        return None, *fused_parameter_gradients(grad_y, x, m, r, needs)
    grads: Gradients = aten.native_batch_norm_backward(
        grad_y, x, w, None, None, m, r, True, 0.0, list(needs)
    )
    return grads


def _mean(values: Tensor) -> Tensor:
    """Return the mean of each channel [C]."""
    return values.mean([0, *range(2, values.dim())])


batch_norm_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    non_differentiable=(1, 2),
    reconnect=reconnect,
)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return `input` [N, C, ...] normalized by channel, times `weight` [C] plus `bias` [C].

    In training by the batch's mean and variance, towards which the running ones [C], if given,
    are moved in place by `momentum` of the way; otherwise by the running ones. An empty batch
    has no statistics and moves nothing. Where processes are synchronized (over_processes.py), the
    batch is that of all of them.
    Raises ValueError for wrong shapes, an eps that is not positive, statistics that are missing,
    and in training for a single value by channel.
    """
    checked_by_channel(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    checked_statistics(eps, running_mean, running_var, training)
    count = input.shape[:1].numel() * input.shape[2:].numel()
    over_processes = training and is_synchronized()
    if training and count == 1 and not over_processes:
        raise ValueError(
            f"input has shape {list(input.shape)}: training needs more than 1 value per channel"
        )
    if training and input.numel() > 0:
        options = Options(momentum, eps)
        function = batch_norm_over_processes_function if over_processes else batch_norm_function
        y, *after = function(input, weight, bias, running_mean, running_var, options)
        update_running((running_mean, running_var), after)
        return y
    if running_mean is None or running_var is None:  # of an empty batch any will do
        running_mean = running_var = input.new_ones(input.shape[1])
    statistics = running_mean, running_var
    y, _ = batch_norm_by_running_function(input, weight, bias, *statistics, eps)
    return y


def update_running(
    running: tuple[Tensor | None, Tensor | None], after: Sequence[Tensor | None]
) -> None:
    """Write what the running statistics have become into them."""
    for each, value in zip(running, after, strict=True):
        if each is not None and value is not None:
            each.copy_(value)


def checked_statistics(
    eps: float, running_mean: Tensor | None, running_var: Tensor | None, by_batch: bool
) -> None:
    """Raise ValueError for an eps or running statistics that cannot be worked with."""
    if eps < 0 or (by_batch and eps == 0):
        raise ValueError(f"eps is {eps}, expected a positive number")
    if (running_mean is None) != (running_var is None):
        raise ValueError("one of running_mean and running_var is given: expected both or none")
    if running_mean is None and not by_batch:
        raise ValueError("running_mean and running_var are None: expected both in evaluation")
