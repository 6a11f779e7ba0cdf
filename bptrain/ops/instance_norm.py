"""Instance normalisation: each channel of each sample to mean 0 and deviation 1, then scaled.

Shapes     x, y [N, C, ...]   w, b [C]   m, v, r [N, C]
           i counts the M = H W places of one channel of one sample
Forward    m_nc  = sum_i x_nci / M             v_nc  = sum_i (x_nci - m_nc)^2 / M
           r_nc  = (v_nc + e)^(-1/2)           h_nci = r_nc (x_nci - m_nc)
           y_nci = w_c h_nci + b_c
           This is batch normalisation of one sample with N C channels: x seen as [1, N C, ...],
           and w and b repeated N times, as W_nc = w_c and B_nc = b_c. The batch of a channel is
           then the M places of its own sample.
Backward   writing x' for dL/dx, given y'
    x' = r (h' - mean(h') - h mean(h' h))   because each (n, c) is a channel of a batch
                                              normalisation, with h' = W y' and means over i;
                                              bptrain/ops/batch_norm.py derives it step by step
    W'   = sum_i y'_nci h_nci                 because it is that channel's weight
    w'_c = sum_n W'_nc                        because dW_nc/dw_c = 1: each sample uses the same w
    B'   = sum_i y'_nci                       because it is that channel's bias
    b'_c = sum_n B'_nc                        because dB_nc/db_c = 1
  In evaluation with running statistics m and v are constants of a channel, the same for every
  sample: that is batch normalisation in evaluation to the letter.
Keeps      x, m, r (only if x' or w' is wanted), W (only if x' is wanted); not h or y
Cost       about 8NCHW flops forward, 10NCHW backward: two passes over memory each
Source     derived here; Ulyanov, Vedaldi and Lempitsky 2016, "Instance Normalization", equation 4.
           Group normalisation with G = C is the same function, but its kernel subtracts large
           sums: at a mean of 100 deviations its float32 gradient errs 5 times as much
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.batch_norm import (
    Gradients,
    Needs,
    Options,
    Running,
    Saved,
    batch_norm,
    checked_statistics,
    read_by,
)
from bptrain.ops.batch_norm import backward as batch_norm_backward
from bptrain.ops.batch_norm import forward as batch_norm_forward
from bptrain.ops.statistics import checked_by_channel


def forward(
    x: Tensor, w: Tensor | None, b: Tensor | None, running: Running | None, options: Options
) -> tuple[Tensor, Saved, Running | None]:
    """Return y [N, C, ...], all that a backward pass may read, and what `running` becomes."""
    N = x.shape[0]
    W, B = (None if each is None else each.repeat(N) for each in (w, b))
    repeated = None if running is None else Running(running.m.repeat(N), running.v.repeat(N))
    y, saved, after = batch_norm_forward(_one_sample(x), W, B, repeated, options)
    if after is not None:
        after = Running(after.m.view(N, -1).mean(0), after.v.view(N, -1).mean(0))
    return y.view(x.shape), saved, after


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, ...], w' and b' [C], each None if it is not wanted."""
    N = grad_y.shape[0]
    grad_x, grad_W, grad_B = batch_norm_backward(_one_sample(grad_y), saved, needs)
    grad_w, grad_b = (None if G is None else G.view(N, -1).sum(0) for G in (grad_W, grad_B))
    return None if grad_x is None else grad_x.view(grad_y.shape), grad_w, grad_b


def _one_sample(x: Tensor) -> Tensor:
    """Return x [N, C, ...] as [1, N C, ...]."""
    return x.reshape(1, -1, *x.shape[2:])


class InstanceNormFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above; returns y, m and v of after."""

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
    """Return `input` [N, C, ...] normalised by sample and channel, times `weight` plus `bias` [C].

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
    y, *after = InstanceNormFunction.apply(input, weight, bias, *running, options)
    if running_mean is not None and running_var is not None:
        running_mean.copy_(after[0])
        running_var.copy_(after[1])
    return y  # type: ignore[no-any-return]
