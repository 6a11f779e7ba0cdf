"""Batch normalisation: each channel to mean 0 and deviation 1 over the batch, then scaled.

Shapes     x, y [N, C, ...]   w, b, m, v, r [C]
           n counts the M = N H W values of one channel; the channels are strangers, so that C is
           left out below
Forward    m   = sum_n x_n / M             v = sum_n (x_n - m)^2 / M
           r   = (v + e)^(-1/2)            h_n = r (x_n - m)
           y_n = w h_n + b
           in evaluation m and v are not the batch's but constants, the running statistics
Backward   writing x' for dL/dx, given y'
    b'   = sum_n y'_n                 because dy_n/db = 1
    w'   = sum_n y'_n h_n             because dy_n/dw = h_n
    h'_n = w y'_n                     because dy_n/dh_n = w
  x reaches h by three ways: directly, through the mean and through the variance. Backwards:
    r'   = sum_n h'_n (x_n - m)       because h_n = r (x_n - m)
         = sum_n h'_n h_n / r
    v'   = -(1/2) r^3 r'              because dr/dv = -(1/2) (v + e)^(-3/2) = -(1/2) r^3
         = -(1/2) r^2 sum_n h'_n h_n
    m'   = -r sum_n h'_n              because dh_n/dm = -r; nothing comes through v, because
                                      dv/dm = -(2/M) sum_n (x_n - m) = 0
    x'_n = r h'_n + m' / M + v' (2/M) (x_n - m)
                                      because dh_n/dx_n = r, dm/dx_n = 1/M and, m held fast,
                                      dv/dx_n = (2/M) (x_n - m)
  With m' and v' put in, and x_n - m = h_n / r, the three ways collapse into one line:
    x' = r (h' - mean(h') - h mean(h' h))
                                      because m' / M = -r mean(h') and
                                      v' (2/M) (x_n - m) = -r h_n mean(h' h)
  which is h' without its part along 1 and its part along h: to shift or to stretch a channel
  changes nothing that the layer lets through, so no blame may point that way.
  In evaluation only the first way is left:
    x' = w r y'                     because m and r do not depend on x
Keeps      x, m, r (only if x' or w' is wanted), w (only if x' is wanted); in evaluation x' alone
           needs no more than w r; not h or y
Cost       about 8NCHW flops forward, 10NCHW backward: two passes over memory each
Source     derived here; Ioffe and Szegedy 2015, "Batch Normalization", section 3, whose gradients
           are not collapsed; the running variance is over M - 1, as in torch
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by
from bptrain.ops.statistics import as_parameter, as_parameters, checked_by_channel, layout_of

aten = torch.ops.aten
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class Saved(NamedTuple):
    """What the backward pass of training reads."""

    x: Tensor | None  # [N, C, ...]
    w: Tensor | None  # [C]
    m: Tensor | None  # [C], as r in float32 for 16-bit x
    r: Tensor | None  # [C]


class SavedByRunning(NamedTuple):
    """What the backward pass of evaluation reads: `slope` for x', the others for w'."""

    x: Tensor | None  # [N, C, ...]
    m: Tensor | None  # [C]
    r: Tensor | None  # [C]
    slope: Tensor | None  # w r [C]


class Running(NamedTuple):
    """The running statistics, which training moves and evaluation reads."""

    m: Tensor  # [C]
    v: Tensor  # [C], over M - 1 where the batch's own is over M


class Options(NamedTuple):
    """The constants of one call."""

    share: float  # of the batch in what the running statistics become: torch's momentum
    e: float


class Needs(NamedTuple):
    """Which gradients are wanted."""

    x: bool
    w: bool
    b: bool


def forward(
    x: Tensor, w: Tensor | None, b: Tensor | None, running: Running | None, options: Options
) -> tuple[Tensor, Saved, Running | None]:
    """Return y [N, C, ...], all that a backward pass may read, and what `running` becomes."""
    share, e = options
    w, b = as_parameters(x, w, b, (x.shape[1],))
    if running is None:
        y, m, r = aten.native_batch_norm(x, w, b, None, None, True, share, e)
        return y, Saved(x, w, m, r), None
    # the kernel's own averages, v's over M - 1, come out: an input of the pass is never modified
    before = (as_parameter(x, each) for each in running)
    y, m, r, *after = aten._native_batch_norm_legit_functional(x, w, b, *before, True, share, e)
    return y, Saved(x, w, m, r), Running(*after)


def backward_in_one_pass(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the same from the kernel, which passes twice over memory."""
    x, w, m, r = saved
    if x is None or m is None or r is None:
        return None, None, _sum_by_channel(grad_y) if needs.b else None
    if not needs.x:
        return None, *_sums(grad_y, x, m, r, needs)
    grads: Gradients = aten.native_batch_norm_backward(
        grad_y, x, w, None, None, m, r, True, 0.0, list(needs)
    )
    return grads


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C], each None if it is not wanted."""
    x, w, m, r = saved
    grad_x = grad_w = None
    grad_b = _sum_by_channel(grad_y) if needs.b else None
    if x is not None and m is not None and r is not None:
        r = _along(r, x)
        h = r * (x - _along(m, x))
        grad_w = _sum_by_channel(grad_y * h) if needs.w else None
        if needs.x:
            grad_h = grad_y if w is None else _along(w, x) * grad_y
            grad_x = r * (grad_h - _mean(grad_h) - h * _mean(grad_h * h))
    return grad_x, grad_w, grad_b


def forward_by_running(
    x: Tensor, w: Tensor | None, b: Tensor | None, running: Running, e: float
) -> tuple[Tensor, SavedByRunning]:
    """Return y [N, C, ...] for constant m and v, and all that a backward pass may read."""
    w, b = as_parameter(x, w), as_parameter(x, b)
    m, v = (as_parameter(x, each) for each in running)
    r = (v.to(torch.promote_types(v.dtype, torch.float32)) + e).rsqrt_()
    saved = SavedByRunning(x, m.to(r.dtype), r, r if w is None else w * r)
    if x.numel() == 0:  # the kernel refuses it
        return x.clone(), saved
    return aten.native_batch_norm(x, w, b, m, v, False, 0.0, e)[0], saved


def backward_by_running_in_one_pass(
    grad_y: Tensor, saved: SavedByRunning, needs: Needs
) -> Gradients:
    """Return the same from kernels."""
    x, m, r, slope = saved
    grad_x = None
    if needs.x and slope is not None:
        grad_x = _times(grad_y, slope)
    if x is None or m is None or r is None:
        return grad_x, None, _sum_by_channel(grad_y) if needs.b else None
    return grad_x, *_sums(grad_y, x, m, r, needs)


@carried_out_by(backward_by_running_in_one_pass)
def backward_by_running(grad_y: Tensor, saved: SavedByRunning, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C] for constant m and v, None if not wanted."""
    x, m, r, slope = saved
    grad_x = grad_w = None
    if needs.x and slope is not None:
        grad_x = _along(slope, grad_y) * grad_y
    if needs.w and x is not None and m is not None and r is not None:
        h = _along(r, x) * (x - _along(m, x))
        grad_w = _sum_by_channel(grad_y * h)
    grad_b = _sum_by_channel(grad_y) if needs.b else None
    return grad_x, grad_w, grad_b


def _sums(
    grad_y: Tensor, x: Tensor, m: Tensor, r: Tensor, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    """Return w' = sum y' h and b' = sum y', in one pass over memory."""
    if x.numel() == 0:  # the kernel fails on it
        return m.new_zeros(m.shape), m.new_zeros(m.shape) if needs.b else None
    like_w = torch.empty_like(m)  # tells the kernel the form of w'; no number of it is read
    _, grad_w, grad_b = aten.native_batch_norm_backward(
        grad_y, x, like_w, None, None, m, r, True, 0.0, [False, needs.w, needs.b]
    )
    return grad_w, grad_b


def _times(grad_y: Tensor, slope: Tensor) -> Tensor:
    """Return x' = w r y' [N, C, ...] in the dtype of y'.

    As the forward kernel's w h + b with m = 0, v = 1 and b = 0: on the CPU in half the time of
    a broadcast product, and 16-bit y' times float32 slope needs no float32 copy.
    """
    if grad_y.numel() == 0:  # the kernel refuses it
        return grad_y.clone()
    zero, one = torch.zeros_like(slope), torch.ones_like(slope)
    grad_x: Tensor = aten.native_batch_norm(grad_y, slope, None, zero, one, False, 0.0, 0.0)[0]
    return grad_x


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Return values [C] so that they meet the channels of x."""
    return values.view(-1, *[1] * (x.dim() - 2))


def _mean(values: Tensor) -> Tensor:
    """Return the mean of each channel [1, C, 1, ...]."""
    return values.mean([0, *range(2, values.dim())], keepdim=True)


def _sum_by_channel(values: Tensor) -> Tensor:
    """Return the sum of each channel [C]."""
    return values.sum([0, *range(2, values.dim())])


def read_by(saved: Saved, needs: Needs) -> Saved:
    """Return of `saved` what the wanted gradients read."""
    if needs.x:
        return saved
    return saved._replace(w=None) if needs.w else Saved(None, None, None, None)


class BatchNormFunction(torch.autograd.Function):
    """Glue between autograd and training's two functions; returns y, m and v of after."""

    @staticmethod
    @in_given_dtype
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor | None,
        b: Tensor | None,
        m: Tensor | None,
        v: Tensor | None,
        options: Options,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Run the forward pass and keep what the wanted gradients read."""
        running = None if m is None or v is None else Running(m, v)
        y, saved, after = forward(x, w, b, running, options)
        ctx.needs = Needs(*ctx.needs_input_grad[:3])
        ctx.save_for_backward(*read_by(saved, ctx.needs))
        ctx.set_materialize_grads(False)
        if after is None:
            return y, None, None
        ctx.mark_non_differentiable(*after)
        return y, *after

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        """Run the backward pass."""
        return *backward(grad_y, Saved(*ctx.saved_tensors), ctx.needs), None, None, None


class BatchNormByRunningFunction(torch.autograd.Function):
    """Glue between autograd and evaluation's two functions."""

    @staticmethod
    @in_given_dtype
    def forward(
        ctx: Any, x: Tensor, w: Tensor | None, b: Tensor | None, m: Tensor, v: Tensor, e: float
    ) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        y, saved = forward_by_running(x, w, b, Running(m, v), e)
        ctx.needs = Needs(*ctx.needs_input_grad[:3])
        if not ctx.needs.x:
            saved = saved._replace(slope=None)
        if not ctx.needs.w:
            saved = saved._replace(x=None, m=None, r=None)
        ctx.save_for_backward(*saved)
        ctx.layout = layout_of(x)
        return y

    @staticmethod
    @first_derivative
    def backward(
        ctx: Any, grad_y: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        """Run the backward pass."""
        grad_y = grad_y.contiguous(memory_format=ctx.layout)
        grads = backward_by_running(grad_y, SavedByRunning(*ctx.saved_tensors), ctx.needs)
        return *grads, None, None, None


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
    """Return `input` [N, C, ...] normalised by channel, times `weight` [C] plus `bias` [C].

    In training by the batch's mean and variance, towards which the running ones [C], if given,
    are moved in place by `momentum` of the way; otherwise by the running ones. An empty batch
    has no statistics and moves nothing.
    Raises ValueError for wrong shapes, an eps that is not positive, statistics that are missing,
    and in training for a single value by channel.
    """
    checked_by_channel(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    checked_statistics(eps, running_mean, running_var, training)
    count = input.shape[:1].numel() * input.shape[2:].numel()
    if training and count == 1:
        raise ValueError(
            f"input has shape {list(input.shape)}: training needs more than 1 value per channel"
        )
    if training and input.numel() > 0:
        options = Options(momentum, eps)
        y, *after = BatchNormFunction.apply(input, weight, bias, running_mean, running_var, options)
        if running_mean is not None and running_var is not None:
            running_mean.copy_(after[0])
            running_var.copy_(after[1])
        return y  # type: ignore[no-any-return]
    if running_mean is None or running_var is None:  # of an empty batch any will do
        running_mean = running_var = input.new_ones(input.shape[1])
    return BatchNormByRunningFunction.apply(  # type: ignore[no-any-return]
        input, weight, bias, running_mean, running_var, eps
    )


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
