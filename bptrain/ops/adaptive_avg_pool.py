"""Mean over as many windows as outputs are wanted: the same sharing out, whatever the input's size.

Shapes     x [N, C, H, W]   y [N, C, H', W']   one axis less for 1-d; N may be missing
Forward    y_ij = (1 / a_ij) sum_hw [h in rows of i] [w in columns of j] x_hw
           rows of i: floor(i H / H') <= h < ceil((i + 1) H / H'); columns of j likewise; a_ij
           their number. Windows overlap by a place where H' does not divide H
Backward   writing x' for dL/dx, given y'
    x'_hw = sum_ij [h in rows of i] [w in columns of j] y'_ij / a_ij
                         because dy_ij/dx_hw = 1 / a_ij inside the window and 0 outside;
                         for H' = W' = 1 this is y' / (H W) at every place
Keeps      nothing: the slopes depend on the places alone, so that the shape of x is enough
Cost       about one addition an input each way
Source     Lin et al. 2014, "Network in network", section 3.2 (global average pooling); He et al.
           2014, "Spatial pyramid pooling" (windows in proportion); the derivation here
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.form import Form, form_of
from bptrain.ops.fused import carried_out_by
from bptrain.ops.window import OutputLengths, check_planes, checked_output_size


def forward(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return y [N, C, *size]."""
    if size == (1, 1):
        return x.mean((-2, -1), keepdim=True)
    y: Tensor = torch.ops.aten._adaptive_avg_pool2d(x, size)
    return y


def backward(grad_y: Tensor, size: tuple[int, ...], form: Form) -> Tensor:
    """Return x' in the form of x."""
    if size == (1, 1):
        H, W = form.shape[-2:]
        return (grad_y / (H * W)).expand(form.shape)  # one number a plane, never written out
    return backward_of_windows(grad_y, form)


def backward_of_windows_in_one_pass(grad_y: Tensor, form: Form) -> Tensor:
    """Return x' from one kernel, which reads nothing of x but its form."""
    x = form.stand_in(grad_y)
    grad_x: Tensor = torch.ops.aten._adaptive_avg_pool2d_backward(grad_y, x)
    return grad_x


@carried_out_by(backward_of_windows_in_one_pass)
def backward_of_windows(grad_y: Tensor, form: Form) -> Tensor:
    """Return x' [N, C, H, W]: each window that covers a place adds its share to it."""
    grad_x = grad_y.new_zeros(form.shape)
    for i, rows in enumerate(_windows(form.shape[-2], grad_y.shape[-2])):
        for j, columns in enumerate(_windows(form.shape[-1], grad_y.shape[-1])):
            a = len(rows) * len(columns)
            share = grad_y[..., i : i + 1, j : j + 1] / a
            grad_x[..., rows.start : rows.stop, columns.start : columns.stop] += share
    return grad_x


def _windows(length: int, outputs: int) -> list[range]:
    """Return the places floor(i H / H') to ceil((i + 1) H / H') of each output's window."""
    return [range(i * length // outputs, -(-(i + 1) * length // outputs)) for i in range(outputs)]


class AdaptiveAvgPoolFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        ctx.size, ctx.form = size, form_of(x)
        return forward(x, size)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        return backward(grad_y, ctx.size, ctx.form), None


def adaptive_avg_pool1d(input: Tensor, output_size: OutputLengths) -> Tensor:
    """Return the means of input [N, C, W] or [C, W] over `output_size` windows.

    Raises ValueError for a shape that does not fit.
    """
    check_planes("adaptive_avg_pool1d", input, 1)
    size = (1, *checked_output_size(output_size, input.shape[-1:]))
    y: Tensor = AdaptiveAvgPoolFunction.apply(input.unsqueeze(-2), size)
    return y.squeeze(-2)


def adaptive_avg_pool2d(input: Tensor, output_size: OutputLengths) -> Tensor:
    """Return the means of input [N, C, H, W] or [C, H, W] over `output_size` windows.

    output_size is one number or two, None for as many as the input has. Raises ValueError for a
    shape that does not fit.
    """
    check_planes("adaptive_avg_pool2d", input, 2)
    size = checked_output_size(output_size, input.shape[-2:])
    y: Tensor = AdaptiveAvgPoolFunction.apply(input, size)
    return y
