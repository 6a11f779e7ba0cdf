"""Transposed convolution: each x paints its kernel into y; it is how conv.py's blame walks.

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
    W' = correlation of y' with x, stride and dilation trading places             [C, O/G, R]
               W'_cor = sum_{n,h} x_nch y'_noj at j = v r - p + u h,
               because dy_noj/dW_cor = x_nch, and one weight serves every sample and place
    b' = sum_{n,j} y'_noj                          because dy_noj/db_o = 1         [O]
Keeps      x (only if W' is wanted), W (only if x' is wanted)
Cost       2 N H C R O/G flops forward, twice that backward (once in a first layer)
Source     derived here; named so because it is conv.py's matrix transposed: Dumoulin and Visin
           2016, "A guide to convolution arithmetic for deep learning", section 4
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_autocast_dtype
from bptrain.ops.convolution import (
    Needs,
    Numbers,
    Saved,
    Sizes,
    Walk,
    check_axes,
    check_channels,
    cut_off,
    per_axis,
    weight_gradient,
)
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor, W: Tensor, b: Tensor | None, walk: Walk) -> Tensor:
    """Return y [N, O, P]."""
    return torch.convolution(
        x, W, b, walk.stride, walk.padding, walk.dilation, True, walk.output_padding, walk.groups
    )


def backward(
    grad_y: Tensor, saved: Saved, needs: Needs, walk: Walk, sizes: Sizes
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x' [N, C, H], W' [C, O/G, R], b' [O], each None if it is not wanted."""
    grad_x = grad_W = grad_b = None
    if needs.x:
        grad_x = backward_input(grad_y, saved, walk, sizes)
    if needs.W and saved.x is not None:
        grad_W, grad_b = backward_weight(grad_y, saved.x, needs.b, walk, sizes)
    elif needs.b:
        grad_b = grad_y.sum((0, *range(2, grad_y.dim())))
    return grad_x, grad_W, grad_b


def backward_input_in_one_pass(grad_y: Tensor, saved: Saved, walk: Walk, sizes: Sizes) -> Tensor:
    """Return x' from one kernel, which reads no number of x, only its size and layout."""
    is_as_long = all(a < u for a, u in zip(walk.output_padding, walk.stride, strict=True))
    if saved.x is None and is_as_long:
        return backward_input.written_out(grad_y, saved, walk, sizes)
    like_x = grad_y.new_empty(1).expand(sizes.x) if saved.x is None else saved.x
    grad_x: Tensor = torch.ops.aten.convolution_backward.default(
        grad_y, like_x, saved.W, None, *walk[:3], True, *walk[3:], (True, False, False)
    )[0]
    return grad_x


@carried_out_by(backward_input_in_one_pass)
def backward_input(grad_y: Tensor, saved: Saved, walk: Walk, sizes: Sizes) -> Tensor:
    """Return x', the convolution of y' with W."""
    assert saved.W is not None, "W is kept wherever x' is wanted"
    grad_x = torch.convolution(
        grad_y, saved.W, None, walk.stride, walk.padding, walk.dilation, False, (0,), walk.groups
    )
    # dilation allows a >= u, for which the convolution has more places than x has elements
    return cut_off(grad_x, sizes.x)


def backward_weight_in_one_pass(
    grad_y: Tensor, x: Tensor, needs_b: bool, walk: Walk, sizes: Sizes
) -> tuple[Tensor, Tensor | None]:
    """Return W' and b' from one kernel, which sums b' on its way."""
    # this kernel reads no number of W, only its size: one element stands in for all of them
    like_W = grad_y.new_empty(1).expand(sizes.W)
    _, grad_W, grad_b = torch.ops.aten.convolution_backward.default(
        grad_y, x, like_W, grad_y.shape[1:2], *walk[:3], True, *walk[3:], (False, True, needs_b)
    )
    return grad_W, grad_b


@carried_out_by(backward_weight_in_one_pass)
def backward_weight(
    grad_y: Tensor, x: Tensor, needs_b: bool, walk: Walk, sizes: Sizes
) -> tuple[Tensor, Tensor | None]:
    """Return W', the correlation of y' with x, and b'."""
    grad_W = weight_gradient(grad_y, x, walk, sizes)
    grad_b = grad_y.sum((0, *range(2, grad_y.dim()))) if needs_b else None
    return grad_W, grad_b


class ConvTransposeFunction(torch.autograd.Function):
    """Glue between autograd and the functions above."""

    @staticmethod
    @in_autocast_dtype
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None, walk: Walk) -> Tensor:
        """Run the forward pass and keep what the wanted gradients read."""
        ctx.needs = Needs(*ctx.needs_input_grad[:3])
        ctx.walk, ctx.sizes = walk, Sizes(x.shape, W.shape)
        ctx.save_for_backward(x if ctx.needs.W else None, W if ctx.needs.x else None)
        return forward(x, W, b, walk)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """Run the backward pass."""
        saved = Saved(*ctx.saved_tensors)
        return *backward(grad_y, saved, ctx.needs, ctx.walk, ctx.sizes), None


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
    """Check what is given and hand it to the Function, with a batch axis."""
    stride, padding, output_padding, groups, dilation = options
    check_axes(input, weight, axes)
    check_channels(input, weight, bias, groups, weight.shape[0], weight.shape[1] * groups)
    walk = Walk(
        per_axis("stride", stride, axes, 1),
        per_axis("padding", padding, axes, 0),
        per_axis("dilation", dilation, axes, 1),
        per_axis("output_padding", output_padding, axes, 0),
        groups,
    )
    shape = zip(input.shape[-axes:], weight.shape[2:], *walk[:4], strict=True)
    for H, R, u, p, v, a in shape:
        if a >= max(u, v):
            raise ValueError(
                f"output_padding is {a}, expected less than stride {u} or dilation {v}"
            )
        if (H - 1) * u - 2 * p + v * (R - 1) + a < 0:
            raise ValueError(f"padding is {p}: it cuts off all of the output")
    if input.dim() == axes + 2:
        y: Tensor = ConvTransposeFunction.apply(input, weight, bias, walk)
        return y
    y = ConvTransposeFunction.apply(input.unsqueeze(0), weight, bias, walk)
    return y.squeeze(0)
