"""Mean over windows: each output shares its blame out equally among the inputs it averaged.

Shapes     x [N, C, H, W]   y [N, C, H', W']   one axis less for 1-d; N may be missing
Forward    y_i = (1 / a_i) sum_h [h in window of i] x_h      padding adds zeros
           i and h number the places of a plane, for each n and c apart; the window of row i' is
           i' stride - padding + r, 0 <= r < R, columns likewise. a_i is divisor_override, or the
           number of places in the window: padding among them with count_include_pad, never those
           beyond the padding, which ceil_mode may add
Backward   writing x' for dL/dx, given y'
    x'_h = sum_i [h in window of i] y'_i / a_i   because dy_i/dx_h = 1 / a_i inside the window and
                                                 0 outside; each window that covers h adds its share
Keeps      nothing: the slopes depend on the places alone, so that the shape of x is enough
Cost       R S additions an output each way
Source     LeCun et al. 1998, "Gradient-based learning applied to document recognition", section
           II.B (subsampling); the derivation here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.form import Form, form_of
from bptrain.ops.fused import carried_out_by
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


def forward(x: Tensor, averaging: Averaging) -> Tensor:
    """Return y [N, C, H', W']."""
    y: Tensor = torch.ops.aten.avg_pool2d(x, *averaging)
    return y


def backward_in_one_pass(grad_y: Tensor, averaging: Averaging, form: Form) -> Tensor:
    """Return x' from one kernel, in the form of x."""
    grad_x = form.unwritten(grad_y)
    share_out = torch.ops.aten.avg_pool2d_backward.grad_input
    share_out(grad_y, grad_x, *averaging, grad_input=grad_x)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, averaging: Averaging, form: Form) -> Tensor:
    """Return x' [N, C, H, W]: each window that covers a place adds its share to it."""
    grad_x = grad_y.new_zeros(form.shape)
    for i in range(grad_y.shape[-2]):
        rows, a_rows = _window(i, -2, averaging, form)
        for j in range(grad_y.shape[-1]):
            columns, a_columns = _window(j, -1, averaging, form)
            a = averaging.divisor or a_rows * a_columns
            grad_x[..., rows, columns] += grad_y[..., i : i + 1, j : j + 1] / a
    return grad_x


def _window(i: int, axis: int, averaging: Averaging, form: Form) -> tuple[slice, int]:
    """Return the places of x that window i covers along an axis, and how many of its places count.

    Only those beyond the padding never count, and padding if it is not to be included.
    """
    length, padding = form.shape[axis], averaging.padding[axis]
    start = i * averaging.stride[axis] - padding
    end = min(start + averaging.size[axis], length + padding)
    inside = range(max(start, 0), min(end, length))
    a = end - start if averaging.count_include_pad else len(inside)
    return slice(inside.start, inside.stop), a


class AvgPoolFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, averaging: Averaging) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        ctx.averaging, ctx.form = averaging, form_of(x)
        return forward(x, averaging)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        return backward(grad_y, ctx.averaging, ctx.form), None


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
    y: Tensor = AvgPoolFunction.apply(input.unsqueeze(-2), averaging)
    return y.squeeze(-2)


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
    y: Tensor = AvgPoolFunction.apply(
        input, Averaging.over(window, count_include_pad, divisor_override)
    )
    return y
