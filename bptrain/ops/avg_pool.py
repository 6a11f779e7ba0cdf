"""Mean over windows: the gradient of an output is shared equally by the inputs it averaged.

Shapes     x [N, C, H, W]   y [N, C, H', W']   one axis less for 1-d; N may be missing
Forward    y_i = (1 / a_i) sum_h [h in window of i] x_h      padding adds zeros
           i and h number the positions of a plane, for each n and c; the window of row i' is
           i' stride - padding + r, 0 <= r < R, columns likewise. a_i is divisor_override, or the
           number of positions in the window: padding among them with count_include_pad, never those
           beyond the padding, which ceil_mode may add
Backward   writing x' for dL/dx, given y'
    x'_h = sum_i [h in window of i] y'_i / a_i   because dy_i/dx_h = 1 / a_i inside the window and
                                                 0 outside; each window that covers h adds its share
Saves      nothing: the derivatives depend on the positions alone, so that the shape of x is enough
Cost       R S additions an output each way
Source     LeCun et al. 1998, "Gradient-based learning applied to document recognition", section
           II.B (subsampling); the derivation here
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.channels_last import laid_out
from bptrain.ops.operation import operation
from bptrain.ops.precision import widened_for_sums
from bptrain.ops.shape_and_layout import ShapeAndLayout, shape_and_layout
from bptrain.ops.window import Lengths, Window, check_pooled, checked_window


class Averaging(NamedTuple):
    """The constants of one call, in the order in which torch's kernels take them."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool
    count_include_pad: bool
    divisor: int | None

    @classmethod
    def over(
        cls, window: Window, count_include_pad: bool, divisor: int | None = None
    ) -> "Averaging":
        """Return the average over a window without dilation."""
        size, stride, padding, _, ceil_mode = window
        return cls(size, stride, padding, ceil_mode, count_include_pad, divisor)

    @property
    def overlaps(self) -> bool:
        """Whether an input may be in several windows, so that its gradient is a sum."""
        return any(size > stride for size, stride in zip(self.size, self.stride, strict=True))


class Saved(NamedTuple):
    """What the backward pass reads."""

    averaging: Averaging
    x: ShapeAndLayout


def forward(x: Tensor, averaging: Averaging) -> tuple[Tensor, Saved]:
    """Return y [N, C, H', W']: the sum of each window over a."""
    axes = zip(x.shape[-2:], averaging.size, averaging.stride, averaging.padding, strict=True)
    lengths = [_outputs(*axis, averaging.ceil_mode) for axis in axes]
    rows, columns = (
        [_window(i, axis, averaging, x.shape) for i in range(length)]
        for axis, length in zip((-2, -1), lengths, strict=True)
    )
    wide = widened_for_sums(x)  # float16 overflows at a sum of 65,504
    means = [
        wide[..., h, w].sum((-2, -1)) / (averaging.divisor or a_h * a_w)
        for h, a_h in rows
        for w, a_w in columns
    ]
    y = torch.stack(means, -1).unflatten(-1, lengths).to(x.dtype)
    layout = shape_and_layout(x)
    return laid_out(y, layout.channels_last), Saved(averaging, layout)


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [N, C, H, W]: each window adds its share to the positions that it covers."""
    averaging, (shape, _) = saved
    dtype, grad_y = grad_y.dtype, widened_for_sums(grad_y)
    grad_x = saved.x.zeros(grad_y)
    for i in range(grad_y.shape[-2]):
        rows, a_rows = _window(i, -2, averaging, shape)
        for j in range(grad_y.shape[-1]):
            columns, a_columns = _window(j, -1, averaging, shape)
            a = averaging.divisor or a_rows * a_columns
            grad_x[..., rows, columns] += grad_y[..., i : i + 1, j : j + 1] / a
    return grad_x.to(dtype)


def fused_forward(x: Tensor, averaging: Averaging) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    y: Tensor = torch.ops.aten.avg_pool2d(x, *averaging)
    return y, Saved(averaging, shape_and_layout(x))


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel, in the layout of x."""
    dtype = grad_y.dtype
    if saved.averaging.overlaps and grad_y.device.type == "cpu":
        grad_y = widened_for_sums(grad_y)
    grad_x = saved.x.empty(grad_y)
    write = torch.ops.aten.avg_pool2d_backward.grad_input
    write(grad_y, grad_x, *saved.averaging, grad_input=grad_x)
    return grad_x.to(dtype)


def _outputs(length: int, size: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Return how many windows fit along an axis; with ceil_mode the last may stick out."""
    slack = length + 2 * padding - size
    if not ceil_mode:
        return slack // stride + 1
    outputs = -(-slack // stride) + 1
    # torch's rule: a window that would begin in the padding behind x is left out
    return outputs - 1 if (outputs - 1) * stride >= length + padding else outputs


def _window(i: int, axis: int, averaging: Averaging, shape: tuple[int, ...]) -> tuple[slice, int]:
    """Return the positions of x that window i covers along an axis, and how many of its own count.

    Those beyond the padding never count, padding counts if it is to be included.
    """
    length, padding = shape[axis], averaging.padding[axis]
    start = i * averaging.stride[axis] - padding
    end = min(start + averaging.size[axis], length + padding)
    inside = range(max(start, 0), min(end, length))
    a = end - start if averaging.count_include_pad else len(inside)
    return slice(inside.start, inside.stop), a


avg_pool_function = operation(
    forward, backward, fused_forward=fused_forward, fused_backward=fused_backward
)


def avg_pool1d(
    input: Tensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of each window of input [N, C, W] or [C, W].

    Raises ValueError for a shape or a window that do not fit.
    """
    window = checked_window(1, kernel_size, stride, padding, ceil_mode=ceil_mode)
    check_pooled("avg_pool1d", input, window)
    averaging = Averaging.over(window.under_one_row(), count_include_pad)
    return avg_pool_function(input.unsqueeze(-2), averaging).squeeze(-2)


def avg_pool2d(
    input: Tensor,
    kernel_size: Lengths,
    stride: Lengths | None = None,
    padding: Lengths = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of each window of input [N, C, H, W] or [C, H, W].

    Raises ValueError for a shape, a window or a divisor that do not fit.
    """
    window = checked_window(2, kernel_size, stride, padding, ceil_mode=ceil_mode)
    check_pooled("avg_pool2d", input, window)
    if divisor_override == 0:
        raise ValueError("divisor_override is 0, expected another number or None")
    averaging = Averaging.over(window, count_include_pad, divisor_override)
    return avg_pool_function(input, averaging)
