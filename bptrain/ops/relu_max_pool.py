"""Rectifier and maximum over windows in one: y = max over a window of max(x, 0).

Shapes     x [N, C, H, W]   y, k [N, C, H', W']   N may be missing
Forward    y_i = max(x_k(i), 0)   k(i) = argmax of x_h over h in the window of output i, as in
           max_pool.py. max(., 0) does not fall anywhere, so that it may be taken of the maximum
           instead of each input: of a quarter of the numbers, for windows of 2 x 2
Backward   writing x' for dL/dx, given y'; a is the maximum before the rectifier
    a'_i = y'_i where y_i > 0, else 0   because dy_i/da_i = 1 for a_i > 0 and 0 for a_i < 0, and
                                        y_i > 0 exactly where a_i > 0; 0 at the kink
    x'_h = sum_i a'_i [h = k(i)]        because da_i/dx_h is 1 at the winner and 0 elsewhere
Saves      k, one byte each: how far the winner lies behind the window's corner in its plane (8
           bytes, its position, where a window spans 256 positions or more); y, which the layer
           that follows saves too. Not x or max(x, 0), which are larger
Cost       R S comparisons an output forward, one addition an output backward
Source     derived here, from relu.py and max_pool.py
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops import max_pool
from bptrain.ops.channels_last import laid_out
from bptrain.ops.operation import operation
from bptrain.ops.shape_and_layout import ShapeAndLayout, shape_and_layout
from bptrain.ops.window import Lengths, Window, check_pooled, checked_window

MANY_CHANNELS = 8  # from as many on, a CPU pools faster with the channels last, the copies included


class Saved(NamedTuple):
    """What the backward pass reads."""

    k: Tensor  # [N, C, H', W'], uint8 behind the corner or int64 in the plane
    y: Tensor  # [N, C, H', W']
    window: Window
    x: ShapeAndLayout


def forward(x: Tensor, window: Window) -> tuple[Tensor, Saved]:
    """Return y; NaN stays NaN."""
    (a, k), (_, _, layout) = max_pool.forward(x, window)
    y = a.clamp_min(0)
    return y, Saved(_narrowed(k, window, layout), y, window, layout)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, H, W]."""
    k, y, window, x = saved
    # not y > 0: a NaN, which is neither, reaches the gradient and is seen there
    grad_a = grad_y.masked_fill(y <= 0, 0)
    return max_pool.backward(grad_a, max_pool.Saved(_widened(k, window, x), window, x))


def fused_forward(x: Tensor, window: Window) -> tuple[Tensor, Saved]:
    """Return the same, y in the memory of the maximum."""
    layout = shape_and_layout(x)
    # torch's kernel compares the channels of one position at once, and only where they lie side by
    # side: [128, 32, 26, 26] takes 17 ms on a CPU, with the channels last 3 ms and 6 for copies
    copied = x.dim() == 4 and x.shape[1] >= MANY_CHANNELS and x.device.type == "cpu"
    read = laid_out(x, channels_last=True) if copied else x
    y, k = torch.ops.aten.max_pool2d_with_indices(read, *window)
    y, k = y.clamp_min_(0), _narrowed(k, window, layout)
    if copied and not layout.channels_last:
        y, k = y.contiguous(), k.contiguous()
    return y, Saved(k, y, window, layout)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return the same from two kernels, in the layout of x."""
    k, y, window, x = saved
    grad_a = torch.ops.aten.threshold_backward(grad_y, y, 0)
    return max_pool.fused_backward(grad_a, max_pool.Saved(_widened(k, window, x), window, x))


def _narrowed(k: Tensor, window: Window, x: ShapeAndLayout) -> Tensor:
    """Return how far each winner lies behind its window's corner, if that fits into a byte."""
    if not _fits_into_a_byte(window, x.shape[-1]):
        return k
    # bytes are numbers modulo 256, so that the difference of the low bytes is that of the positions
    corners = _corners(window, x.shape[-1], k).to(torch.uint8)
    return k.to(torch.uint8).sub_(corners)


def _widened(k: Tensor, window: Window, x: ShapeAndLayout) -> Tensor:
    """Return each winner's position in its plane, int64."""
    if k.dtype != torch.uint8:
        return k
    return k.long().add_(_corners(window, x.shape[-1], k))


def _fits_into_a_byte(window: Window, W: int) -> bool:
    """Tell whether the last position of a window lies fewer than 256 behind its corner."""
    down, right = ((n - 1) * v for n, v in zip(window.size, window.dilation, strict=True))
    return down * W + right < 256


def _corners(window: Window, W: int, k: Tensor) -> Tensor:
    """Return the position of each window's first element [H', W'], negative in the padding."""
    rows, columns = (
        torch.arange(n, device=k.device) * stride - pad
        for n, stride, pad in zip(k.shape[-2:], window.stride, window.padding, strict=True)
    )
    return rows[:, None] * W + columns


relu_max_pool_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
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
