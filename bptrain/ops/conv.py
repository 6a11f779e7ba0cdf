"""Convolution: a small kernel W moves over x, and the gradient over the same positions.

Shapes     x [N, C, H]   W [O, C/G, R]   b [O]   y [N, O, P]
           One spatial axis is written out. conv2d and conv3d have further ones, (W, S) and
           (D, Q), whose indices move as h and r do. With G groups, all of it holds within each:
           channel c meets the C/G channels and O/G outputs of its own group alone.
Forward    y_noj = b_o + sum_{c,r} W_ocr x_nch     at h = u j - p + v r, x being 0 outside of [0, H)
           u stride, p padding, v dilation, P = floor((H + 2p - v (R - 1) - 1) / u) + 1 positions j
Backward   writing x' for dL/dx, given y' [N, O, P]
    x' = transposed convolution of y' with W                                      [N, C, H]
               x'_nch = sum_{o,j,r} W_ocr y'_noj over the j, r with u j - p + v r = h,
               because that is where x_nch was read, times W_ocr, into y_noj
    W' = correlation of x with y', stride and dilation swapped             [O, C/G, R]
               W'_ocr = sum_{n,j} x_nch y'_noj at h = v r - p + u j,
               because dy_noj/dW_ocr = x_nch, and one weight serves every sample and position
    b' = sum_{n,j} y'_noj                          because dy_noj/db_o = 1         [O]
Saves      x (only if W' is needed), W (only if x' is needed); for padding 'same' with an odd
           total, and for a border other than zeros (see pad.py), the padded copy of x
Cost       2 N P O R C/G flops forward, twice that backward (once in a first layer)
Source     derived here; the arithmetic of sizes: Dumoulin and Visin 2016, "A guide to convolution
           arithmetic for deep learning". "Convolution" is torch's word for a correlation: the
           kernel is not flipped
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
    in_dtype_of,
    per_axis,
    weight_gradient,
    widened_without_kernel,
    with_channels_first,
)
from bptrain.ops.operation import Operation, operation
from bptrain.ops.pad import pad
from bptrain.ops.precision import MATMUL


def forward(
    x: Tensor, W: Tensor, b: Tensor | None, geometry: Geometry, needs: Needs
) -> tuple[Tensor, Saved]:
    """Return y [N, O, P]."""
    stride, padding, dilation, output_padding, groups = geometry
    y = torch.convolution(x, W, b, stride, padding, dilation, False, output_padding, groups)
    return y, Saved.of(x, W, geometry, needs)


def backward(grad_y: Tensor, saved: Saved, needs: Needs) -> Gradients:
    """Return x' [N, C, H], W' in the shape of W, b' [O], each None if it is not needed."""
    grad_x = grad_W = grad_b = None
    if needs.x:
        grad_x = input_gradient(grad_y, saved)
    if needs.W and saved.x is not None:
        grad_W = weight_gradient(saved.x, grad_y, saved.geometry, saved.sizes)
    if needs.b:
        grad_b = bias_gradient(grad_y)
    return grad_x, grad_W, grad_b


def input_gradient(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x', the transposed convolution of y' with W."""
    assert saved.W is not None, "W is saved wherever x' is needed"
    stride, padding, dilation, _, groups = saved.geometry
    return torch.convolution(
        grad_y, saved.W, None, stride, padding, dilation, True, _remainder(saved), groups
    )


def _remainder(saved: Saved) -> tuple[int, ...]:
    """Return how many elements at the end of x no kernel reached, as the stride skipped them."""
    stride, padding, dilation, _, _ = saved.geometry
    sizes = zip(saved.sizes.x[2:], saved.sizes.W[2:], stride, padding, dilation, strict=True)
    return tuple((H + 2 * p - v * (R - 1) - 1) % u for H, R, u, p, v in sizes)


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
        if _is_read_beyond_its_end(read, saved):
            read, written = with_channels_first(read), with_channels_first(written)
        _, grad_W, grad_b = torch.ops.aten.convolution_backward.default(
            written, read, like_W, grad_y.shape[1:2], stride, padding, dilation, False,
            output_padding, groups, (False, True, needs.b),
        )  # fmt: skip
        return grad_x, in_dtype_of(grad_y, grad_W), in_dtype_of(grad_y, grad_b)
    if needs.b:
        grad_b = bias_gradient(grad_y)
    return grad_x, grad_W, grad_b


def _is_read_beyond_its_end(x: Tensor, saved: Saved) -> bool:
    """Return whether oneDNN's kernel of W' cannot be given x with its channels last."""
    # Symptom: W' of a kernel of one number that skips every second one is wrong by its own size, or
    # the process aborts, on CPUs without AVX-512 where 1 to 7 channels come last. Cause: oneDNN
    # copies what is read 8 channels at a time. Remedy: channels first.
    skips = any(u > 1 for u in saved.geometry.stride) and all(R == 1 for R in saved.sizes.W[2:])
    return skips and x.device.type == "cpu" and x.shape[1] % 8 != 0


def fused_input_gradient(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel, which reads no number of x, only its size and layout."""
    # Where x was not saved, a placeholder of one expanded element would do, but it has no layout:
    # channels_last is lost, and the CPU takes 2 to 8 times as long. The forward kernel of
    # transposed convolution needs none.
    if saved.x is None:
        return input_gradient(grad_y, saved)
    stride, padding, dilation, output_padding, groups = saved.geometry
    grad_x: Tensor = torch.ops.aten.convolution_backward.default(
        grad_y, saved.x, saved.W, None, stride, padding, dilation, False, output_padding, groups,
        (True, False, False),
    )[0]  # fmt: skip
    return grad_x


conv_function = operation(forward, backward, fused_backward=fused_backward, precision=MATMUL)


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
             as the input (stride 1 only; one more after than before if their number is odd)

    Raises ValueError for shapes or options that do not fit.
    """
    return convolved(1, input, weight, bias, (stride, padding, dilation, groups))


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
    return convolved(2, input, weight, bias, (stride, padding, dilation, groups))


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
    return convolved(3, input, weight, bias, (stride, padding, dilation, groups))


def convolved(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    options: tuple[Numbers, Numbers | str, Numbers, int],
    function: Operation[Tensor] = conv_function,
) -> Tensor:
    """Check the arguments and apply the operation, with a batch axis."""
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
    geometry = Geometry(u, p, v, (0,) * axes, groups)
    if input.dim() == axes + 2:
        return function(input, weight, bias, geometry)
    return function(input.unsqueeze(0), weight, bias, geometry).squeeze(0)


def _padded_as_named(
    input: Tensor, weight: Tensor, padding: str, u: tuple[int, ...], v: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the padding on either side that a name stands for; an odd one is put after input."""
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
