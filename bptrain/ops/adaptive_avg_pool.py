"""Mean over a given number of windows, whatever the input's size.

Shapes     x [N, C, H, W]   y [N, C, H', W']   one axis less for 1-d; N may be missing
Forward    y_ij = (1 / a_ij) sum_hw [h in rows of i] [w in columns of j] x_hw
           rows of i: floor(i H / H') <= h < ceil((i + 1) H / H'); columns of j likewise; a_ij
           their number. Windows overlap by a position where H' does not divide H
Backward   writing x' for dL/dx, given y'
    x'_hw = sum_ij [h in rows of i] [w in columns of j] y'_ij / a_ij
                         because dy_ij/dx_hw = 1 / a_ij inside the window and 0 outside;
                         for H' = W' = 1 this is y' / (H W) at every position
Saves      nothing: the derivatives depend on the positions alone, so that the shape of x is enough
Cost       about one addition an input each way
Source     Lin et al. 2014, "Network in network", section 3.2 (global average pooling); He et al.
           2014, "Spatial pyramid pooling" (windows in proportion); the derivation here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.channels_last import laid_out
from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums
from bptrain.ops.shape_and_layout import ShapeAndLayout, shape_and_layout
from bptrain.ops.window import OutputLengths, check_planes, checked_output_size, windows_overlap


class Saved(NamedTuple):
    """What the backward pass reads."""

    size: tuple[int, ...]
    x: ShapeAndLayout


def forward(x: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Saved]:
    """Return y [N, C, *size]: the mean of each window."""
    saved = Saved(size, shape_and_layout(x))
    if size == (1, 1):
        return x.mean((-2, -1), keepdim=True), saved
    rows, columns = map(_windows, x.shape[-2:], size)
    means = [x[..., h, w].mean((-2, -1)) for h in rows for w in columns]
    y = torch.stack(means, -1).unflatten(-1, size)
    return laid_out(y, saved.x.channels_last), saved


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, H, W]: each window adds its share to the positions that it covers."""
    if saved.size == (1, 1):
        H, W = saved.x.shape[-2:]
        return (grad_y / (H * W)).expand(saved.x.shape)  # one number a plane, never written out
    dtype, grad_y = grad_y.dtype, widened_for_sums(grad_y)
    grad_x = saved.x.zeros(grad_y)
    rows, columns = map(_windows, saved.x.shape[-2:], saved.size)
    for i, h in enumerate(rows):
        for j, w in enumerate(columns):
            a = (h.stop - h.start) * (w.stop - w.start)
            grad_x[..., h, w] += grad_y[..., i : i + 1, j : j + 1] / a
    return grad_x.to(dtype)


def fused_forward(x: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    if size == (1, 1):
        return forward(x, size)
    y: Tensor = torch.ops.aten._adaptive_avg_pool2d(x, size)
    return y, Saved(size, shape_and_layout(x))


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel, which reads only the shape and layout of x."""
    if saved.size == (1, 1):
        return backward(grad_y, saved)
    if grad_y.numel() == 0:  # the kernel takes no planes without channels
        return saved.x.empty(grad_y)
    dtype = grad_y.dtype
    if windows_overlap(saved.x.shape[-2:], saved.size):
        grad_y = widened_for_sums(grad_y)
    x = saved.x.placeholder(grad_y)
    grad_x: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(grad_y, x)
    return grad_x.to(dtype)


def _windows(length: int, outputs: int) -> list[slice]:
    """Return the positions floor(i H / H') to ceil((i + 1) H / H') of each output's window."""
    return [slice(i * length // outputs, -(-(i + 1) * length // outputs)) for i in range(outputs)]


adaptive_avg_pool_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def _check_not_empty(name: str, input: Tensor, axes: int, size: tuple[int, ...]) -> None:
    """Raise ValueError where windows are empty; the mean of an empty plane is NaN, as in torch."""
    if set(size) != {1}:
        check_planes(name, input, axes, axes)


def adaptive_avg_pool1d(input: Tensor, output_size: OutputLengths) -> Tensor:
    """Return the means of input [N, C, W] or [C, W] over `output_size` windows.

    Raises ValueError for a shape that does not fit.
    """
    check_planes("adaptive_avg_pool1d", input, 1, 0)
    size = (1, *checked_output_size(output_size, input.shape[-1:]))
    _check_not_empty("adaptive_avg_pool1d", input, 1, size)
    return adaptive_avg_pool_function(input.unsqueeze(-2), size).squeeze(-2)


def adaptive_avg_pool2d(input: Tensor, output_size: OutputLengths) -> Tensor:
    """Return the means of input [N, C, H, W] or [C, H, W] over `output_size` windows.

    output_size is one number or two, None for as many as the input has. Raises ValueError for a
    shape that does not fit.
    """
    check_planes("adaptive_avg_pool2d", input, 2, 0)
    size = checked_output_size(output_size, input.shape[-2:])
    _check_not_empty("adaptive_avg_pool2d", input, 2, size)
    return adaptive_avg_pool_function(input, size)
