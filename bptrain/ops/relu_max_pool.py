"""Rectifier and max-pool in one: y = max(max over the window of x, 0), one byte kept a winner.

Shapes     x [N, C, H, W]   y [N, C, H', W']   k as y; N may be missing
Forward    z_i = x_k(i)     k(i) = argmax of x_h over h in the window of output i   (max_pool.py)
           y_i = max(z_i, 0)
           the larger of a window's values and 0 is the same whether 0 is compared first or last:
           the rectifier runs over the outputs, a quarter of the inputs or less
Backward   writing x' for dL/dx, given y'
    z'_i = y'_i where y_i > 0, else 0   because dy_i/dz_i = 1 above 0 and 0 below; 0 at the kink
    x'_h = sum_i z'_i [h = k(i)]        because dz_i/dx_h is 1 at the winner and 0 elsewhere
Saves      y, which the next layer saves as its input, and k as its distance from the window's first
           position, (h - h_0) W + (w - w_0): one byte where that fits, else two or eight. Not x,
           nor the rectified x, which is as large
Cost       R S + 1 comparisons an output forward, one addition an output backward
Source     derived here, from relu.py and max_pool.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops import max_pool
from bptrain.ops.operation import operation
from bptrain.ops.shape_and_layout import ShapeAndLayout
from bptrain.ops.window import Lengths, Window, check_pooled, checked_window


class Saved(NamedTuple):
    """What the backward pass reads."""

    y: Tensor  # [N, C, H', W']
    distance: Tensor  # [N, C, H', W'], uint8, int16 or int64
    window: Window
    x: ShapeAndLayout


def forward(x: Tensor, window: Window) -> tuple[Tensor, Saved]:
    """Return y [N, C, H', W']; NaN stays NaN."""
    (z, k), saved = max_pool.forward(x, window)
    y = z.clamp_min(0)
    return y, Saved(y, _distance(k, window, x.shape[-1]), window, saved.x)


def fused_forward(x: Tensor, window: Window) -> tuple[Tensor, Saved]:
    """Return the same, y in the memory of z."""
    (z, k), saved = max_pool.forward(x, window)
    y = z.clamp_min_(0)
    return y, Saved(y, _distance(k, window, x.shape[-1]), window, saved.x)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, H, W]."""
    # not y > 0: a NaN, which is neither, reaches the gradient and is seen there
    return max_pool.backward(grad_y.masked_fill(saved.y <= 0, 0), _of_max_pool(saved))


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return the same from two kernels."""
    grad_z = torch.ops.aten.threshold_backward(grad_y, saved.y, 0)
    return max_pool.fused_backward(grad_z, _of_max_pool(saved))


def _of_max_pool(saved: Saved) -> max_pool.Saved:
    """Return what max-pooling would have saved: the winners' positions in their planes, int64."""
    k = saved.distance.to(torch.int64)
    k += _first_positions(k, saved.window, saved.x.shape[-1])
    return max_pool.Saved(k, saved.window, saved.x)


def _distance(k: Tensor, window: Window, W: int) -> Tensor:
    """Return how far each winner is from its window's first position."""
    (R, S), (down, right) = window.size, window.dilation
    furthest = (R - 1) * down * W + (S - 1) * right
    narrow = torch.int64
    if furthest < 2**8:
        narrow = torch.uint8
    elif furthest < 2**15:
        narrow = torch.int16
    return (k - _first_positions(k, window, W)).to(narrow)


def _first_positions(k: Tensor, window: Window, W: int) -> Tensor:
    """Return the first position of each window [H', W'], which may lie in the padding."""
    rows, columns = (
        torch.arange(count, device=k.device) * step - padding
        for count, step, padding in zip(k.shape[-2:], window.stride, window.padding, strict=True)
    )
    return rows.unsqueeze(1) * W + columns


relu_max_pool_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    constants=("distance",),
)


def relu_max_pool2d(
    input: Tensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return `max_pool2d(relu(input), ...)` of input [N, C, H, W] or [C, H, W].

    Raises ValueError for a shape or a window that do not fit.
    """
    window = checked_window(2, kernel_size, stride, padding, dilation, ceil_mode)
    check_pooled("relu_max_pool2d", input, window)
    return relu_max_pool_function(input, window)
