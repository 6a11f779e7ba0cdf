"""Batch normalization, a residual and the rectifier in one: y = max(w h(x) + b + z, 0).

Shapes     x, y, z, h [N, C, ...]   w, b, m, r [C]      z the residual, which may be missing
Forward    h = r (x - m), by the statistics of the batch, as in batch_norm.py
           a = w h + b + z     y = max(a, 0)
Backward   writing x' for dL/dx, given y'
    a' = y' where y > 0, else 0   because dy/da = 1 for a > 0 and 0 for a < 0, and y > 0 exactly
                                  where a > 0; 0 at the kink
    z' = a'                       because da/dz = 1
    b' = sum_n a'_n               because da_n/db = 1
    w' = sum_n a'_n h_n           because da_n/dw = h_n
    x' = r (h' - mean(h') - h mean(h' h)), h' = w a'
                                  because h depends on x as batch_norm.py derives it
Saves      x, m, r (only if x' or w' is needed), w (only if x' is needed), y, which takes the memory
           of a; not h, which the backward pass computes again, or z
Cost       as batch_norm.py, and an addition and a comparison an element
Source     derived here, from batch_norm.py, add.py and relu.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.add import add
from bptrain.ops.batch_norm import (
    Options,
    Outputs,
    batch_norm,
    batch_norm_function,
    checked_statistics,
    update_running,
)
from bptrain.ops.batch_norm import Saved as SavedByNorm
from bptrain.ops.batch_norm import reconnect as reconnect_norm
from bptrain.ops.operation import Passes, operation
from bptrain.ops.relu import relu
from bptrain.ops.statistics import Needs as NeedsOfNorm
from bptrain.ops.statistics import checked_by_channel


class Needs(NamedTuple):
    """Which gradients are needed."""

    x: bool
    z: bool
    w: bool
    b: bool


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class Saved(NamedTuple):
    """What the backward pass reads."""

    x: Tensor | None  # [N, C, ...]
    w: Tensor | None  # [C]
    m: Tensor | None  # [C]
    r: Tensor | None  # [C]
    e: float
    y: Tensor  # [N, C, ...]


def forward(
    x: Tensor,
    z: Tensor | None,
    w: Tensor | None,
    b: Tensor | None,
    running_m: Tensor | None,
    running_v: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return y [N, C, ...], NaN as it is, and what the running statistics [C] become."""
    of_norm = NeedsOfNorm(needs.x, needs.w, needs.b)
    (a, *after), saved = batch_norm_function.formula.forward(
        x, w, b, running_m, running_v, options, of_norm
    )
    y = (a if z is None else a + z).clamp_min(0)
    return (y, *after), _with_output(saved, y)


def fused_forward(
    x: Tensor,
    z: Tensor | None,
    w: Tensor | None,
    b: Tensor | None,
    running_m: Tensor | None,
    running_v: Tensor | None,
    options: Options,
    needs: Needs,
) -> tuple[Outputs, Saved]:
    """Return the same, y in the memory of what the kernel of the normalization returns."""
    of_norm = NeedsOfNorm(needs.x, needs.w, needs.b)
    (y, *after), saved = batch_norm_function.fused.forward(
        x, w, b, running_m, running_v, options, of_norm
    )
    if z is not None:
        y += z
    y.clamp_min_(0)
    return (y, *after), _with_output(saved, y)


def _with_output(saved: SavedByNorm, y: Tensor) -> Saved:
    """Return what the normalization saves, and y."""
    x, w, m, r, e = saved
    return Saved(x, w, m, r, e, y)


def reconnect(saved: Saved) -> Saved:
    """Return Saved with m and r computed from x again."""
    return _with_output(reconnect_norm(SavedByNorm(*saved[:-1])), saved.y)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x', z' [N, C, ...], w', b' [C], each None if it is not needed."""
    # not y > 0: a NaN, which is neither, reaches the gradient and is seen there
    grad_a = grad_y.masked_fill(saved.y <= 0, 0)
    return _of_norm(batch_norm_function.formula, grad_a, saved, needs)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the same from the kernels of both."""
    grad_a = torch.ops.aten.threshold_backward(grad_y, saved.y, 0)
    return _of_norm(batch_norm_function.fused, grad_a, saved, needs)


def _of_norm(passes: Passes, grad_a: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the gradients, given a' [N, C, ...]."""
    of_norm = NeedsOfNorm(needs.x, needs.w, needs.b)
    grad_x, grad_w, grad_b = passes.backward(grad_a, SavedByNorm(*saved[:-1]), of_norm)
    return grad_x, grad_a if needs.z else None, grad_w, grad_b


batch_norm_relu_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    non_differentiable=(1, 2),
    reconnect=reconnect,
)


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return `relu(batch_norm(input, ...) + residual)` of input [N, C, ...], in training.

    The running statistics, if given, are moved in place, as in batch_norm. Raises ValueError for
    wrong shapes, an eps that is not positive, and a single value by channel.
    """
    checked_by_channel(
        input, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var
    )
    checked_statistics(eps, running_mean, running_var, by_batch=True)
    if residual is not None and residual.shape != input.shape:
        raise ValueError(
            f"residual has shape {list(residual.shape)}, expected input's, {list(input.shape)}"
        )
    if input.shape[:1].numel() * input.shape[2:].numel() == 1:
        raise ValueError(
            f"input has shape {list(input.shape)}: training needs more than 1 value per channel"
        )
    running = running_mean, running_var
    if input.numel() == 0:  # it has no statistics and moves nothing
        a = batch_norm(input, *running, weight, bias, True, momentum, eps)
        return relu(a if residual is None else add(a, residual))
    y, *after = batch_norm_relu_function(
        input, residual, weight, bias, *running, Options(momentum, eps)
    )
    update_running(running, after)
    return y
