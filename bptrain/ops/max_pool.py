"""Maximum over windows: each output copies one input, and hands its blame to that one alone.

Shapes     x [N, C, H, W]   y [N, C, H', W']   one axis less for 1-d; N may be missing
Forward    y_i = x_k(i)   k(i) = argmax of x_h over h in the window of output i
           i, h, k number the places of a plane [H', W'] or [H, W], for each n and c apart.
           The window of row i' is i' stride - padding + r dilation, 0 <= r < R; for the adaptive
           one floor(i' H / H') <= h' < ceil((i' + 1) H / H'); columns likewise.
           NaN counts as the largest, the first of equals wins, padding never wins
Backward   writing x' for dL/dx, given y'
    x'_h = sum_i y'_i [h = k(i)]   because dy_i/dx_h is 1 at the winner and 0 elsewhere: a small
                                   move of a loser changes nothing. Windows that overlap may have
                                   the same winner, therefore the sum
Keeps      k; not x, which torch keeps too, for its shape alone. A byte for each k would do, counted
           from the window's corner, but k comes from the kernel and goes into the kernel as int64:
           narrowing and widening it made the pair of passes 5 to 25 % slower on a CPU
Cost       R S comparisons an output forward, one addition an output backward
Source     Zhou and Chellappa 1988, "Computation of optical flow using a neural network"; the
           derivation here
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.form import Form, form_of
from bptrain.ops.fused import carried_out_by
from bptrain.ops.window import (
    Lengths,
    OutputLengths,
    Window,
    check_planes,
    check_pooled,
    checked_output_size,
    checked_window,
)


class Adaptive(NamedTuple):
    """The number of outputs along each axis, whose windows share the input out among them."""

    size: tuple[int, int]


class Saved(NamedTuple):
    """What the backward pass reads."""

    k: Tensor  # [N, C, H', W'], int64: the winner's place in its plane, h W + w


def forward(x: Tensor, window: Window | Adaptive) -> tuple[Tensor, Tensor]:
    """Return y and the winners k, int64, each [N, C, H', W']."""
    aten = torch.ops.aten
    if isinstance(window, Adaptive):
        y, k = aten.adaptive_max_pool2d(x, window.size)
    else:
        y, k = aten.max_pool2d_with_indices(x, *window)
    return y, k


def backward_in_one_pass(
    grad_y: Tensor, saved: Saved, window: Window | Adaptive, form: Form
) -> Tensor:
    """Return x' from one kernel, in the form of x."""
    grad_x = form.unwritten(grad_y)
    # the kernels are named in full: to find the one that writes to grad_x costs torch 10 us a call
    aten = torch.ops.aten
    if isinstance(window, Adaptive):
        aten.adaptive_max_pool2d_backward.grad_input(grad_y, grad_x, saved.k, grad_input=grad_x)
    else:
        scatter = aten.max_pool2d_with_indices_backward.grad_input
        scatter(grad_y, grad_x, *window, saved.k, grad_input=grad_x)
    return grad_x


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, saved: Saved, window: Window | Adaptive, form: Form) -> Tensor:
    """Return x' [N, C, H, W]; which window an output saw does not matter once k is known."""
    grad_x = grad_y.new_zeros(form.shape).flatten(-2)  # [N, C, H W], whose last axis k counts
    return grad_x.scatter_add(-1, saved.k.flatten(-2), grad_y.flatten(-2)).view(form.shape)


class MaxPoolFunction(torch.autograd.Function):
    """Glue between autograd and the functions above; it returns k too where that is asked for."""

    @staticmethod
    @in_given_dtype
    def forward(
        ctx: Any, x: Tensor, window: Window | Adaptive, return_indices: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the forward pass and keep the winners."""
        y, k = forward(x, window)
        if ctx.needs_input_grad[0]:
            ctx.window, ctx.form = window, form_of(x)
            ctx.save_for_backward(*Saved(k))
        if not return_indices:
            return y
        ctx.mark_non_differentiable(k)
        ctx.set_materialize_grads(False)  # else zeros as large as k would be made for it
        return y, k

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        """Run the backward pass."""
        return backward(grad_y, Saved(*ctx.saved_tensors), ctx.window, ctx.form), None, None


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

    With return_indices also each winner's place along W, int64. Raises ValueError for a shape or
    a window that do not fit.
    """
    window = checked_window(1, kernel_size, stride, padding, dilation, ceil_mode)
    check_pooled("max_pool1d", input, window)
    plane = input.unsqueeze(-2)
    pooled = MaxPoolFunction.apply(plane, window.under_one_row(), return_indices)
    if return_indices:
        y, k = pooled
        return y.squeeze(-2), k.squeeze(-2)
    line: Tensor = pooled.squeeze(-2)
    return line


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

    With return_indices also each winner's place in its plane, h W + w, int64. Raises ValueError
    for a shape or a window that do not fit.
    """
    window = checked_window(2, kernel_size, stride, padding, dilation, ceil_mode)
    check_pooled("max_pool2d", input, window)
    pooled: Tensor | tuple[Tensor, Tensor] = MaxPoolFunction.apply(input, window, return_indices)
    return pooled


def adaptive_max_pool2d(
    input: Tensor, output_size: OutputLengths, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest values of input [N, C, H, W] or [C, H, W] in `output_size` windows.

    output_size is one number or two, None for as many as the input has. With return_indices also
    each winner's place in its plane, int64. Raises ValueError for a shape that does not fit.
    """
    check_planes("adaptive_max_pool2d", input, 2)
    height, width = checked_output_size(output_size, input.shape[-2:])
    window = Adaptive((height, width))
    pooled: Tensor | tuple[Tensor, Tensor] = MaxPoolFunction.apply(input, window, return_indices)
    return pooled
