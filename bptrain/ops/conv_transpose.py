"""Transposed convolution: each x adds its kernel to y; it is the input gradient of conv.py.

Shapes     x [N, C, H]   W [C, O/G, R]   b [O]   y [N, O, P]
           One spatial axis is written out; conv_transpose2d has a second one, (W, S). With G
           groups, all of it holds within each: the C/G channels and O/G outputs of the group.
Forward    y_noj = b_o + sum_{c,h,r} W_cor x_nch    over the h, r with u h - p + v r = j
           u stride, p padding, v dilation, a output_padding: as conv.py maps every a < u to the
           same size, it has to be told, P = (H - 1) u - 2p + v (R - 1) + a + 1
Backward   writing x' for dL/dx, given y' [N, O, P]
    x' = convolution of y' with W                                                 [N, C, H]
               x'_nch = sum_{o,r} W_cor y'_noj at j = u h - p + v r, y' being 0 outside of [0, P),
               because that is where x_nch was added, times W_cor, to y_noj
    W' = correlation of y' with x, stride and dilation swapped             [C, O/G, R]
               W'_cor = sum_{n,h} x_nch y'_noj at j = v r - p + u h,
               because dy_noj/dW_cor = x_nch, and one weight serves every sample and position
    b' = sum_{n,j} y'_noj                          because dy_noj/db_o = 1         [O]
Saves      x (only if W' is needed), W (only if x' is needed)
Cost       2 N H C R O/G flops forward, twice that backward (once in a first layer)
Source     derived here; named so because it is conv.py's matrix transposed: Dumoulin and Visin
           2016, "A guide to convolution arithmetic for deep learning", section 4
"""

import torch
from torch import Tensor

from bptrain.ops.convolution import (
    Geometry,
    Gradients,
    Needs,
    Numbers,
    Saved,
    bias_gradient,
    check_axes,
    check_channels,
    cut_off,
    in_dtype_of,
    per_axis,
    weight_gradient,
    widened_without_kernel,
)
from bptrain.ops.operation import operation
from bptrain.ops.precision import MATMUL


def forward(
    x: Tensor, W: Tensor, b: Tensor | None, geometry: Geometry, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y [N, O, P]."""
    stride, padding, dilation, output_padding, groups = geometry
    y = torch.convolution(x, W, b, stride, padding, dilation, True, output_padding, groups)
    return y, Saved.of(x, W, geometry, needs)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, H], W' in the shape of W, b' [O], each None if it is not needed."""
    grad_x = grad_W = grad_b = None
    if needs.x:
        grad_x = input_gradient(grad_y, saved)
    if needs.W and saved.x is not None:
        grad_W = weight_gradient(grad_y, saved.x, saved.geometry, saved.sizes)
    if needs.b:
        grad_b = bias_gradient(grad_y)
    return grad_x, grad_W, grad_b


def input_gradient(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', the convolution of y' with W."""
    assert saved.W is not None, "W is saved wherever x' is needed"
    stride, padding, dilation, _, groups = saved.geometry
    grad_x = torch.convolution(
        grad_y, saved.W, None, stride, padding, dilation, False, (0,), groups
    )
    # dilation allows a >= u, for which the convolution has more positions than x has elements
    return cut_off(grad_x, saved.sizes.x)


def fused_backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return the same; x' from one kernel, W' and b' from another."""
    grad_x = grad_W = grad_b = None
    if needs.x:
        grad_x = fused_input_gradient(grad_y, saved)
    if needs.W and saved.x is not None:
        # This kernel reads only the size of W: one element stands for all of them. It sums b' too.
        read, written = widened_without_kernel(saved.x), widened_without_kernel(grad_y)
        like_W = written.new_empty(1).expand(saved.sizes.W)
        stride, padding, dilation, output_padding, groups = saved.geometry
        _, grad_W, grad_b = torch.ops.aten.convolution_backward.default(
            written, read, like_W, grad_y.shape[1:2], stride, padding, dilation, True,
            output_padding, groups, (False, True, needs.b),
        )  # fmt: skip
        return grad_x, in_dtype_of(grad_y, grad_W), in_dtype_of(grad_y, grad_b)
    if needs.b:
        grad_b = bias_gradient(grad_y)
    return grad_x, grad_W, grad_b


def fused_input_gradient(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel, which reads no number of x, only its size and layout."""
    stride, padding, dilation, output_padding, groups = saved.geometry
    is_as_long = all(a < u for a, u in zip(output_padding, stride, strict=True))
    if saved.x is None and is_as_long:
        return input_gradient(grad_y, saved)
    like_x = grad_y.new_empty(1).expand(saved.sizes.x) if saved.x is None else saved.x
    grad_x: Tensor = torch.ops.aten.convolution_backward.default(
        grad_y, like_x, saved.W, None, stride, padding, dilation, True, output_padding, groups,
        (True, False, False),
    )[0]  # fmt: skip
    return grad_x


conv_transpose_function = operation(
    forward, backward, fused_backward=fused_backward, precision=MATMUL
)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Tensor:
    """Return the transposed convolution of `input` [N, C, H] or [C, H] with `weight`.

    weight          [C, O/groups, R]; bias [O]
    padding         elements cut off from either side of the output
    output_padding  elements more at its end, less than the stride or the dilation

    Raises ValueError for shapes or options that do not fit.
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(1, input, weight, bias, options)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Tensor:
    """Return the transposed convolution of `input` [N, C, H, W] or [C, H, W] with `weight`.

    weight is [C, O/groups, R, S]; the options are conv_transpose1d's, a number or one for each
    spatial axis.
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(2, input, weight, bias, options)


def _conv_transpose(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    options: tuple[Numbers, Numbers, Numbers, int, Numbers],
) -> Tensor:
    """Check the arguments and apply the operation, with a batch axis."""
    stride, padding, output_padding, groups, dilation = options
    check_axes(input, weight, axes)
    check_channels(input, weight, bias, groups, weight.shape[0], weight.shape[1] * groups)
    geometry = Geometry(
        per_axis("stride", stride, axes, 1),
        per_axis("padding", padding, axes, 0),
        per_axis("dilation", dilation, axes, 1),
        per_axis("output_padding", output_padding, axes, 0),
        groups,
    )
    shape = zip(input.shape[-axes:], weight.shape[2:], *geometry[:4], strict=True)
    for H, R, u, p, v, a in shape:
        if a >= max(u, v):
            raise ValueError(
                f"output_padding is {a}, expected less than stride {u} or dilation {v}"
            )
        if (H - 1) * u - 2 * p + v * (R - 1) + a < 0:
            raise ValueError(f"padding is {p}: it cuts off all of the output")
    if input.dim() == axes + 2:
        return conv_transpose_function(input, weight, bias, geometry)
    return conv_transpose_function(input.unsqueeze(0), weight, bias, geometry).squeeze(0)
