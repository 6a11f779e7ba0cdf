"""Maximum over windows: each output copies one input, which alone receives its gradient.

Shapes     x [N, C, H, W]   y [N, C, H', W']   one axis less for 1-d; N may be missing
Forward    y_i = x_k(i)   k(i) = argmax of x_h over h in the window of output i
           i, h, k number the positions of a plane [H', W'] or [H, W], for each n and c.
           The window of row i' is i' stride - padding + r dilation, 0 <= r < R; for the adaptive
           one floor(i' H / H') <= h' < ceil((i' + 1) H / H'); columns likewise.
           NaN counts as the largest, the first of equals wins, padding never wins
Backward   writing x' for dL/dx, given y'
    x'_h = sum_i y'_i [h = k(i)]   because dy_i/dx_h is 1 at the winner and 0 elsewhere: a small
                                   move of a loser changes nothing. Windows that overlap may have
                                   the same winner, therefore the sum
Saves      k; not x, which torch saves too, for its shape alone. One byte a k would be enough,
           counted from the window's corner, but the kernels give and take k as int64: narrowing and
           widening it made the pair of passes 5 to 25 % slower on a CPU
Cost       R S comparisons an output forward, one addition an output backward
Source     Zhou and Chellappa 1988, "Computation of optical flow using a neural network"; the
           derivation here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.channels_last import laid_out
from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums
from bptrain.ops.shape_and_layout import ShapeAndLayout, shape_and_layout
from bptrain.ops.window import (
    Lengths,
    OutputLengths,
    Window,
    check_planes,
    check_pooled,
    checked_output_size,
    checked_window,
    windows_overlap,
)


class Adaptive(NamedTuple):
    """The number of outputs along each axis, among whose windows the input is divided."""

    size: tuple[int, int]


class Saved(NamedTuple):
    """What the backward pass reads."""

    k: Tensor  # [N, C, H', W'], int64: the winner's position in its plane, h W + w
    window: Window | Adaptive
    x: ShapeAndLayout


def forward(x: Tensor, window: Window | Adaptive) -> tuple[tuple[Tensor, Tensor], Saved]:
    """Return y and the winners k, int64, each [N, C, H', W']."""
    aten = torch.ops.aten
    if isinstance(window, Adaptive):
        y, k = aten.adaptive_max_pool2d(x, window.size)
    else:
        y, k = aten.max_pool2d_with_indices(x, *window)
    return (y, k), Saved(k, window, shape_and_layout(x))


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, H, W]; once k is known the windows no longer matter."""
    k, _, (shape, channels_last) = saved
    wide = widened_for_sums(grad_y)
    *leading, H, W = shape
    planes = wide.new_zeros(*leading, H * W)  # the last axis is what k counts
    winners, shares = (each.reshape(*leading, k.shape[-2:].numel()) for each in (k, wide))
    grad_x = planes.scatter_add(-1, winners, shares).view(shape).to(grad_y.dtype)
    return laid_out(grad_x, channels_last)


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel, in the layout of x."""
    k, window, x = saved
    dtype = grad_y.dtype
    if _adds_in(grad_y, window, x):
        grad_y = widened_for_sums(grad_y)
    grad_x = x.empty(grad_y)
    # the kernels are named in full: to find the one that writes to grad_x costs torch 10 us a call
    aten = torch.ops.aten
    if isinstance(window, Adaptive):
        aten.adaptive_max_pool2d_backward.grad_input(grad_y, grad_x, k, grad_input=grad_x)
    else:
        scatter = aten.max_pool2d_with_indices_backward.grad_input
        scatter(grad_y, grad_x, *window, k, grad_input=grad_x)
    return grad_x.to(dtype)


def _adds_in(grad_y: Tensor, window: Window | Adaptive, x: ShapeAndLayout) -> bool:
    """Tell whether the kernel adds up gradients in the dtype of y', where windows overlap."""
    if isinstance(window, Adaptive):
        return windows_overlap(x.shape[-2:], window.size)
    is_cpu = grad_y.device.type == "cpu"  # on CUDA that one adds in float32
    return is_cpu and any(n > step for n, step in zip(window.size, window.stride, strict=True))


max_pool_function = operation(
    forward, backward, fused_backward=fused_backward, non_differentiable=(1,)
)


def max_pool1d(
    input: Tensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest value in each window of input [N, C, W] or [C, W].

    With return_indices also each winner's position along W, int64. Raises ValueError for a shape or
    a window that do not fit.
    """
    window = checked_window(1, kernel_size, stride, padding, dilation, ceil_mode)
    check_pooled("max_pool1d", input, window)
    plane = input.unsqueeze(-2)
    y, k = (each.squeeze(-2) for each in max_pool_function(plane, window.under_one_row()))
    return (y, k) if return_indices else y


def max_pool2d(
    input: Tensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest value in each window of input [N, C, H, W] or [C, H, W].

    With return_indices also each winner's position in its plane, h W + w, int64. Raises ValueError
    for a shape or a window that do not fit.
    """
    window = checked_window(2, kernel_size, stride, padding, dilation, ceil_mode)
    check_pooled("max_pool2d", input, window)
    y, k = max_pool_function(input, window)
    return (y, k) if return_indices else y


def adaptive_max_pool2d(
    input: Tensor, output_size: OutputLengths, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest values of input [N, C, H, W] or [C, H, W] in `output_size` windows.

    output_size is one number or two, None for as many as the input has. With return_indices also
    each winner's position in its plane, int64. Raises ValueError for a shape that does not fit.
    """
    check_planes("adaptive_max_pool2d", input, 2, input.dim() - 1)
    height, width = checked_output_size(output_size, input.shape[-2:])
    window = Adaptive((height, width))
    y, k = max_pool_function(input, window)
    return (y, k) if return_indices else y
