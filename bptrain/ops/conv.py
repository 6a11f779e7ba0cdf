"""Convolution: a small kernel W walks over x, and blame walks back over the same places.

Shapes     x [N, C, H]   W [O, C/G, R]   b [O]   y [N, O, P]
           One spatial axis is written out. conv2d and conv3d have further ones, (W, S) and
           (D, Q), whose indices move as h and r do. With G groups, all of it holds within each:
           channel c meets the C/G channels and O/G outputs of its own group alone.
Forward    y_noj = b_o + sum_{c,r} W_ocr x_nch     at h = u j - p + v r, x being 0 outside of [0, H)
           u stride, p padding, v dilation, P = floor((H + 2p - v (R - 1) - 1) / u) + 1 places j
Backward   writing x' for dL/dx, given y' [N, O, P]
    x' = transposed convolution of y' with W                                      [N, C, H]
               x'_nch = sum_{o,j,r} W_ocr y'_noj over the j, r with u j - p + v r = h,
               because that is where x_nch was read, times W_ocr, into y_noj
    W' = correlation of x with y', stride and dilation trading places             [O, C/G, R]
               W'_ocr = sum_{n,j} x_nch y'_noj at h = v r - p + u j,
               because dy_noj/dW_ocr = x_nch, and one weight serves every sample and place
    b' = sum_{n,j} y'_noj                          because dy_noj/db_o = 1         [O]
Keeps      x (only if W' is wanted), W (only if x' is wanted); for padding 'same' with an odd
           total, and for a frame other than zeros (see pad.py), the padded copy of x
Cost       2 N P O R C/G flops forward, twice that backward (once in a first layer)
Source     derived here; the arithmetic of sizes: Dumoulin and Visin 2016, "A guide to convolution
           arithmetic for deep learning". "Convolution" is torch's word for a correlation: the
           kernel is not flipped
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
    per_axis,
    weight_gradient,
)
from bptrain.ops.fused import carried_out_by
from bptrain.ops.pad import pad


def forward(x: Tensor, W: Tensor, b: Tensor | None, walk: Walk) -> Tensor:
    """Return y [N, O, P]."""
    return torch.convolution(
        x, W, b, walk.stride, walk.padding, walk.dilation, False, walk.output_padding, walk.groups
    )


def backward(
    grad_y: Tensor, saved: Saved, needs: Needs, walk: Walk, sizes: Sizes
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return x' [N, C, H], W' [O, C/G, R], b' [O], each None if it is not wanted."""
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
    # Where x was not kept, a stand-in of one expanded element would do, but it has no layout:
    # channels_last is lost, and the CPU takes 2 to 8 times as long. The forward kernel of
    # transposed convolution needs none.
    if saved.x is None:
        return backward_input.written_out(grad_y, saved, walk, sizes)
    grad_x: Tensor = torch.ops.aten.convolution_backward.default(
        grad_y, saved.x, saved.W, None, *walk[:3], False, *walk[3:], (True, False, False)
    )[0]
    return grad_x


@carried_out_by(backward_input_in_one_pass)
def backward_input(grad_y: Tensor, saved: Saved, walk: Walk, sizes: Sizes) -> Tensor:
    """Return x', the transposed convolution of y' with W."""
    assert saved.W is not None, "W is kept wherever x' is wanted"
    remainder = _remainder(walk, sizes)
    return torch.convolution(
        grad_y, saved.W, None, walk.stride, walk.padding, walk.dilation, True, remainder,
        walk.groups,
    )  # fmt: skip


def backward_weight_in_one_pass(
    grad_y: Tensor, x: Tensor, needs_b: bool, walk: Walk, sizes: Sizes
) -> tuple[Tensor, Tensor | None]:
    """Return W' and b' from one kernel, which sums b' on its way."""
    # this kernel reads no number of W, only its size: one element stands in for all of them
    like_W = grad_y.new_empty(1).expand(sizes.W)
    _, grad_W, grad_b = torch.ops.aten.convolution_backward.default(
        grad_y, x, like_W, grad_y.shape[1:2], *walk[:3], False, *walk[3:], (False, True, needs_b)
    )
    return grad_W, grad_b


@carried_out_by(backward_weight_in_one_pass)
def backward_weight(
    grad_y: Tensor, x: Tensor, needs_b: bool, walk: Walk, sizes: Sizes
) -> tuple[Tensor, Tensor | None]:
    """Return W', the correlation of x with y', and b'."""
    grad_W = weight_gradient(x, grad_y, walk, sizes)
    grad_b = grad_y.sum((0, *range(2, grad_y.dim()))) if needs_b else None
    return grad_W, grad_b


def _remainder(walk: Walk, sizes: Sizes) -> tuple[int, ...]:
    """Return how many elements at the end of x no kernel reached, as the stride jumped over."""
    return tuple(
        (H + 2 * p - v * (R - 1) - 1) % u
        for H, R, u, p, v in zip(
            sizes.x[2:], sizes.W[2:], walk.stride, walk.padding, walk.dilation, strict=True
        )
    )


class ConvFunction(torch.autograd.Function):
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


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution of `input` [N, C, H] or [C, H] with `weight` [O, C/groups, R].

    padding  zeros on either side, 'valid' for none, or 'same': as many as make the output as long
             as the input (stride 1 only; one more behind than in front if their number is odd)

    Raises ValueError for shapes or options that do not fit.
    """
    return _conv(1, input, weight, bias, (stride, padding, dilation, groups))


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution of `input` [N, C, H, W] with `weight` [O, C/groups, R, S].

    input may lack N; the options are conv1d's, a number or one for each spatial axis.
    """
    return _conv(2, input, weight, bias, (stride, padding, dilation, groups))


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution of `input` [N, C, D, H, W] with `weight` [O, C/groups, Q, R, S].

    input may lack N; the options are conv1d's, a number or one for each spatial axis.
    """
    return _conv(3, input, weight, bias, (stride, padding, dilation, groups))


def _conv(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    options: tuple[Numbers, Numbers | str, Numbers, int],
) -> Tensor:
    """Check what is given and hand it to the Function, with a batch axis."""
    stride, padding, dilation, groups = options
    check_axes(input, weight, axes)
    u, v = per_axis("stride", stride, axes, 1), per_axis("dilation", dilation, axes, 1)
    if isinstance(padding, str):
        input, p = _padded_as_named(input, weight, padding, u, v)
    else:
        p = per_axis("padding", padding, axes, 0)
    check_channels(input, weight, bias, groups, weight.shape[1] * groups, weight.shape[0])
    for H, R, each_p, each_v in zip(input.shape[-axes:], weight.shape[2:], p, v, strict=True):
        if H + 2 * each_p < each_v * (R - 1) + 1:
            raise ValueError(
                f"an axis of {H} elements, padding {each_p}, is shorter than the kernel: {R} "
                f"elements, dilation {each_v}"
            )
    walk = Walk(u, p, v, (0,) * axes, groups)
    if input.dim() == axes + 2:
        y: Tensor = ConvFunction.apply(input, weight, bias, walk)
        return y
    y = ConvFunction.apply(input.unsqueeze(0), weight, bias, walk)
    return y.squeeze(0)


def _padded_as_named(
    input: Tensor, weight: Tensor, padding: str, u: tuple[int, ...], v: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the padding on either side that a name stands for; an odd one is put behind input."""
    if padding not in ("same", "valid"):
        raise ValueError(f"padding is {padding!r}, expected numbers, 'same' or 'valid'")
    if padding == "valid":
        return input, (0,) * len(v)
    if max(u) > 1:
        raise ValueError(f"padding is 'same' and stride {u}, expected stride 1")
    totals = [each * (R - 1) for each, R in zip(v, weight.shape[2:], strict=True)]
    odd = [total % 2 for total in totals]
    if any(odd):
        input = pad(input, [each for last in reversed(odd) for each in (0, last)])
    return input, tuple(total // 2 for total in totals)
