"""Instance normalization: each channel of each sample to mean 0, variance 1, then scaled.

Shapes     x, y [N, C, ...]   w, b [C]   m, v, r [N, C]
           i counts the M = H W positions of one channel of one sample
Forward    m_nc  = sum_i x_nci / M             v_nc  = sum_i (x_nci - m_nc)^2 / M
           r_nc  = (v_nc + e)^(-1/2)           h_nci = r_nc (x_nci - m_nc)
           y_nci = w_c h_nci + b_c
           This is batch normalization of one sample with N C channels: x seen as [1, N C, ...],
           and w and b repeated N times, as W_nc = w_c and B_nc = b_c. The batch of a channel is
           then the M positions of its own sample.
Backward   writing x' for dL/dx, given y'
    x' = r (h' - mean(h') - h mean(h' h))   because each (n, c) is a channel of a batch
                                              normalization, with h' = W y' and means over i;
                                              bptrain/ops/batch_norm.py derives it step by step
    W'   = sum_i y'_nci h_nci                 because it is that channel's weight
    w'_c = sum_n W'_nc                        because dW_nc/dw_c = 1: each sample uses the same w
    B'   = sum_i y'_nci                       because it is that channel's bias
    b'_c = sum_n B'_nc                        because dB_nc/db_c = 1
  In evaluation with running statistics m and v are constants of a channel, the same for every
  sample: that is exactly batch_norm_by_running.py.
Saves      x, m, r (only if x' or w' is needed), w (only if x' is needed); not h or y
Cost       about 8NCHW flops forward, 10NCHW backward: two passes over memory each
Source     derived here; Ulyanov, Vedaldi and Lempitsky 2016, "Instance Normalization", equation 4.
           Group normalization with G = C is the same function, but its kernel subtracts large
           sums: at a mean of 100 standard deviations its float32 gradient errs 5 times as much
"""

from typing import NamedTuple

from torch import Tensor

from bptrain.ops.batch_norm import (
    Options,
    Outputs,
    batch_norm,
    checked_statistics,
    update_running,
)
from bptrain.ops.batch_norm import Saved as BatchSaved
from bptrain.ops.batch_norm import backward as batch_backward
from bptrain.ops.batch_norm import forward as batch_forward
from bptrain.ops.batch_norm import fused_backward as batch_fused_backward
from bptrain.ops.batch_norm import fused_forward as batch_fused_forward
from bptrain.ops.batch_norm import reconnect as batch_reconnect
from bptrain.ops.operation import operation
from bptrain.ops.statistics import Gradients, Needs, as_parameters, checked_by_channel


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [N, C, ...]
    w: Tensor | None  # [C]
    m: Tensor | None  # [N C]
    r: Tensor | None  # [N C]
    e: float

    def as_one_sample(self) -> BatchSaved:
        """Return what the batch normalization of one sample saves."""
        x, w, m, r, e = self
        if x is None:
            return BatchSaved(None, None, None, None, e)
        (W,) = _repeated(x, w)
        return BatchSaved(_one_sample(x), W, m, r, e)


def forward(
    x: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    running_m: Tensor | None,
    running_v: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return y [N, C, ...], and what the running statistics [C] become."""
    W, B, m, v = _repeated(x, w, b, running_m, running_v)
    return _by_sample(x, w, *batch_forward(_one_sample(x), W, B, m, v, options, needs))


def reconnect(saved: Saved) -> Saved:
    """Return Saved with m and r computed from x again."""
    of_batch = batch_reconnect(saved.as_one_sample())
    return saved._replace(m=of_batch.m, r=of_batch.r)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C], each None if it is not needed."""
    grads = batch_backward(_one_sample(grad_y), saved.as_one_sample(), needs)
    return _summed_over_samples(grad_y, grads)


def fused_forward(
    x: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    running_m: Tensor | None,
    running_v: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return the same from batch normalization's kernel."""
    W, B, m, v = _repeated(x, w, b, running_m, running_v)
    return _by_sample(x, w, *batch_fused_forward(_one_sample(x), W, B, m, v, options, needs))


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the same from batch normalization's kernel."""
    grads = batch_fused_backward(_one_sample(grad_y), saved.as_one_sample(), needs)
    return _summed_over_samples(grad_y, grads)


def _one_sample(x: Tensor) -> Tensor:
    """Return x [N, C, ...] as [1, N C, ...]."""
    return x.reshape(1, -1, *x.shape[2:])


def _repeated(x: Tensor, *by_channel: Tensor | None) -> list[Tensor | None]:
    """Return what belongs to a channel [C] repeated for each of the N samples."""
    return [None if each is None else each.expand(len(x), -1).reshape(-1) for each in by_channel]


def _by_sample(
    x: Tensor, w: Tensor | None, outputs: Outputs, of_batch: BatchSaved
) -> tuple[Outputs, Saved]:
    """Return y in the shape of x, and the statistics averaged over the samples."""
    y, *after = outputs
    m, v = (None if each is None else each.view(len(x), -1).mean(0) for each in after)
    saved = Saved(
        None if of_batch.x is None else x,
        None if of_batch.w is None else as_parameters(x, w, None, x.shape[1:2])[0],
        *of_batch[2:],
    )
    return (y.view(x.shape), m, v), saved


def _summed_over_samples(grad_y: Tensor, grads: Gradients) -> Gradients:
    """Return x' in the shape of y', and w' and b' summed over the samples, which share w and b."""
    grad_x, *of_channels = grads
    grad_w, grad_b = (
        None if each is None else each.view(len(grad_y), -1).sum(0) for each in of_channels
    )
    return None if grad_x is None else grad_x.view(grad_y.shape), grad_w, grad_b


instance_norm_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    non_differentiable=(1, 2),
    reconnect=reconnect,
)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return `input` [N, C, ...] normalized by sample and channel, times `weight` plus `bias` [C].

    With `use_input_stats` by each sample's mean and variance, whose averages over the samples
    the running ones [C], if given, are moved towards in place, by `momentum` of the way;
    otherwise by the running ones. Raises ValueError for wrong shapes, an eps that is not
    positive, statistics that are missing, and a single value by sample and channel.
    """
    running = running_mean, running_var
    if not use_input_stats or input.numel() == 0:
        # of no values there are no statistics: an empty input moves nothing, as in batch_norm
        return batch_norm(input, *running, weight, bias, use_input_stats, momentum, eps)
    checked_by_channel(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    checked_statistics(eps, running_mean, running_var, True)
    if input.shape[2:].numel() == 1:
        raise ValueError(
            f"input has shape {list(input.shape)}: expected more than 1 value in each channel of "
            "a sample"
        )
    options = Options(momentum, eps)
    y, *after = instance_norm_function(input, weight, bias, *running, options)
    update_running(running, after)
    return y
