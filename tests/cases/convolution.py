"""Cases of the convolutions, plain and transposed."""

from collections.abc import Callable
from math import nan
from typing import Any

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

Shape = tuple[int, ...]


def _convolved(
    input: Shape, weight: Shape, outputs: int | None = None, bias: bool = True
) -> Callable[[Inputs], Tensors]:
    """Draw input, weight and the bias of the outputs: weight's axis 0 unless transposed."""

    def arguments(draw: Inputs) -> Tensors:
        tensors = {"input": draw.normal(*input), "weight": draw.normal(*weight)}
        return tensors | ({"bias": draw.normal(outputs or weight[0])} if bias else {})

    return arguments


def _with_nan(input: Shape, weight: Shape, outputs: int) -> Callable[[Inputs], Tensors]:
    def arguments(draw: Inputs) -> Tensors:
        tensors = _convolved(input, weight, outputs)(draw)
        tensors["input"].view(-1)[1] = nan
        return tensors

    return arguments


def _channels_last_weight(draw: Inputs) -> Tensors:
    weight = draw.normal(3, 3, 2, 2).permute(0, 3, 1, 2)
    return {"input": draw.normal(2, 2, 4, 3), "weight": weight, "bias": draw.normal(3)}


def _conv1d(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return OpCase("conv1d", name, why, arguments, options)


def _conv2d(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return OpCase("conv2d", name, why, arguments, options)


def _conv3d(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return OpCase("conv3d", name, why, arguments, options)


LINE, LINE_KERNEL = (2, 2, 9), (3, 2, 3)
IMAGE, KERNEL = (2, 2, 4, 3), (3, 2, 3, 2)
VOLUME, VOLUME_KERNEL = (1, 2, 3, 4, 2), (2, 2, 2, 3, 1)

CONV = [
    _conv1d("usual", "the usual call", _convolved(LINE, LINE_KERNEL)),
    _conv1d("no bias", "b' is skipped", _convolved(LINE, LINE_KERNEL, bias=False)),
    _conv1d("stride", "6 positions for stride 4: the last ones are never read",
            _convolved(LINE, LINE_KERNEL), stride=4),
    _conv1d("stride, padding, dilation", "each changes the positions of the others",
            _convolved(LINE, LINE_KERNEL), stride=(2,), padding=(3,), dilation=(2,)),
    _conv1d("groups", "a channel reads only its own group", _convolved((2, 4, 5), (6, 2, 2)),
            groups=2, padding=1),
    _conv1d("same, odd padding", "an even kernel: one more zero behind than in front",
            _convolved((2, 2, 5), (3, 2, 4)), padding="same"),
    _conv1d("same, longer kernel", "a kernel longer than the input it is padded for",
            _convolved((2, 2, 2), (3, 2, 3)), padding="same", dilation=2),
    _conv1d("unbatched", "no batch axis, here and in y", _convolved((2, 7), LINE_KERNEL)),
    _conv1d("empty", "an empty batch gives zero gradients", _convolved((0, 2, 7), LINE_KERNEL)),
    _conv2d("usual", "the usual call", _convolved(IMAGE, KERNEL)),
    _conv2d("no bias", "b' is skipped", _convolved(IMAGE, KERNEL, bias=False)),
    _conv2d("stride", "an own stride for each axis, and one that leaves a remainder",
            _convolved((1, 2, 6, 5), KERNEL), stride=(2, 3)),
    _conv2d("stride beyond the kernel", "elements between the kernels get no gradient",
            _convolved((1, 2, 5, 6), (2, 2, 1, 2)), stride=3, padding=1),
    _conv2d("padding", "an own padding for each axis", _convolved(IMAGE, KERNEL), padding=(2, 1)),
    _conv2d("padding beyond the kernel", "positions of y that read zeros alone",
            _convolved((1, 2, 2, 2), (2, 2, 1, 2)), padding=2),
    _conv2d("dilation", "an own dilation for each axis",
            _convolved((1, 2, 6, 5), KERNEL), dilation=(2, 3), padding=(1, 0)),
    _conv2d("everything", "each option on its own axis, no two numbers the same",
            _convolved((1, 4, 5, 3), (4, 2, 2, 3), bias=True),
            stride=(3, 2), padding=(1, 2), dilation=(2, 3), groups=2),
    _conv2d("depthwise", "a group for each channel, two outputs each",
            _convolved((2, 3, 3, 3), (6, 1, 2, 2)), groups=3),
    _conv2d("1 x 1", "a linear map of each pixel", _convolved((2, 3, 3, 2), (4, 3, 1, 1))),
    _conv2d("1 x 1, stride", "a linear map of every other pixel",
            _convolved((2, 3, 3, 3), (2, 3, 1, 1)), stride=2),
    _conv2d("whole image", "one position: a linear map of the image",
            _convolved(IMAGE, (3, 2, 4, 3))),
    _conv2d("ones", "one of everything", _convolved((1, 1, 1, 1), (1, 1, 1, 1))),
    _conv2d("valid", "the name of no padding", _convolved(IMAGE, KERNEL), padding="valid"),
    _conv2d("same", "odd kernels: as much in front as behind",
            _convolved(IMAGE, (2, 2, 3, 1)), padding="same"),
    _conv2d("same, one odd padding", "rows are padded by 1 + 1, columns by 0 + 1",
            _convolved(IMAGE, KERNEL), padding="same"),
    _conv2d("same, dilation", "dilation 2 makes an even kernel's padding even",
            _convolved((1, 2, 4, 4), (2, 2, 2, 4)), padding="same", dilation=(2, 3)),
    _conv2d("unbatched", "no batch axis, here and in y",
            _convolved((2, 4, 3), KERNEL), padding=1, stride=2),
    _conv2d("unbatched, same", "the padding is around the last axes",
            _convolved((2, 4, 3), (3, 2, 2, 2)), padding="same"),
    _conv2d("empty", "an empty batch gives zero gradients",
            _convolved((0, 2, 4, 3), KERNEL), stride=2, padding=1),
    _conv2d("channels_last weight", "the channels are adjacent in memory", _channels_last_weight),
    OpCase("conv2d", "not finite", "NaN must reach the monitor, through each kernel that reads it",
           _with_nan(IMAGE, KERNEL, 3), smooth=False),
    _conv3d("usual", "the usual call", _convolved(VOLUME, VOLUME_KERNEL)),
    _conv3d("everything", "each option on its own axis",
            _convolved((1, 2, 3, 4, 2), (4, 1, 2, 3, 1)),
            stride=(2, 1, 3), padding=(1, 2, 0), dilation=(3, 2, 1), groups=2),
    _conv3d("same", "odd paddings on two of three axes",
            _convolved((1, 1, 3, 2, 2), (2, 1, 2, 3, 2)), padding="same"),
    _conv3d("unbatched", "no batch axis, here and in y",
            _convolved((2, 3, 4, 2), VOLUME_KERNEL), stride=2),
    _conv3d("empty", "an empty batch gives zero gradients",
            _convolved((0, 2, 3, 4, 2), VOLUME_KERNEL)),
]  # fmt: skip


def _transposed1d(name: str, why: str, arguments: Any, **options: Any) -> OpCase:
    return OpCase("conv_transpose1d", name, why, arguments, options)


def _transposed2d(name: str, why: str, arguments: Any, **options: Any) -> OpCase:
    return OpCase("conv_transpose2d", name, why, arguments, options)


PATCH, BRUSH = (2, 2, 3, 2), (2, 3, 3, 2)

TRANSPOSED = [
    _transposed1d("usual", "the usual call", _convolved((2, 2, 5), (2, 3, 3), 3)),
    _transposed1d("stride and output_padding", "the longest y of this stride",
                  _convolved((2, 2, 4), (2, 3, 2), 3), stride=3, output_padding=2),
    _transposed1d("everything", "each changes the positions of the others",
                  _convolved((2, 4, 3), (4, 2, 3), 4),
                  stride=(2,), padding=(3,), output_padding=(1,), groups=2, dilation=(3,)),
    _transposed1d("unbatched", "no batch axis, here and in y",
                  _convolved((2, 5), (2, 3, 3), 3), padding=1),
    _transposed1d("empty", "an empty batch gives zero gradients",
                  _convolved((0, 2, 5), (2, 3, 3), 3), stride=2),
    _transposed2d("usual", "the usual call", _convolved(PATCH, BRUSH, 3)),
    _transposed2d("no bias", "b' is skipped", _convolved(PATCH, BRUSH, bias=False)),
    _transposed2d("stride", "a stride for each axis; only the bias between the kernels",
                  _convolved(PATCH, BRUSH, 3), stride=(2, 3)),
    _transposed2d("padding", "an own padding for each axis, cut off from y",
                  _convolved(PATCH, BRUSH, 3), padding=(2, 1)),
    _transposed2d("dilation", "an own dilation for each axis",
                  _convolved(PATCH, BRUSH, 3), dilation=(2, 3)),
    _transposed2d("output_padding", "an own remainder for each axis",
                  _convolved(PATCH, BRUSH, 3), stride=(2, 3), output_padding=(1, 2)),
    _transposed2d("output_padding of the stride", "dilation allows it: x' must not grow by a row",
                  _convolved(PATCH, BRUSH, 3),
                  stride=(1, 2), padding=1, output_padding=(1, 2), dilation=3),
    _transposed2d("groups", "a channel writes only its own group's outputs",
                  _convolved((1, 4, 3, 2), (4, 2, 2, 2), 4), stride=2, groups=2),
    _transposed2d("depthwise", "a group for each channel",
                  _convolved((2, 3, 2, 3), (3, 1, 2, 2), 3), groups=3),
    _transposed2d("1 x 1", "a linear map of each pixel", _convolved((2, 3, 3, 2), (3, 4, 1, 1), 4)),
    _transposed2d("one pixel", "y is the kernel, scaled", _convolved((1, 2, 1, 1), BRUSH, 3)),
    _transposed2d("unbatched", "no batch axis, here and in y",
                  _convolved((2, 3, 2), BRUSH, 3), stride=2, output_padding=1),
    _transposed2d("empty", "an empty batch gives zero gradients",
                  _convolved((0, 2, 3, 2), BRUSH, 3), stride=2, padding=1),
    OpCase("conv_transpose2d", "not finite", "NaN must reach the monitor",
           _with_nan(PATCH, BRUSH, 3), smooth=False),
]  # fmt: skip

OPS = [*CONV, *TRANSPOSED]


def _module(kind: str, why: str, input: Shape, size: Any, **options: Any) -> ModuleCase:
    """Return a case of 2 channels to 4 with kernels of `size`."""
    channels = {"in_channels": 2, "out_channels": 4, "kernel_size": size}
    return ModuleCase(kind, why, channels | options, lambda draw: {"input": draw.normal(*input)})


def _sized(kind: str, input: Shape, size: Any, output_size: Shape, **options: Any) -> ModuleCase:
    """Return a case of a transposed convolution whose output's size is asked for."""
    return ModuleCase(
        kind,
        f"output_size {list(output_size)}",
        {"in_channels": 2, "out_channels": 4, "kernel_size": size} | options,
        lambda draw: {"input": draw.normal(*input)},
        call=lambda module, tensors: module(tensors["input"], output_size=output_size),
    )


MODULES = [
    _module("Conv1d", "defaults", (2, 2, 6), 3),
    _module("Conv1d", "every option", (2, 2, 6), 3,
            stride=2, padding=3, dilation=2, groups=2, bias=False, padding_mode="circular"),
    _module("Conv1d", "same in a mirror, even kernel", (2, 2, 6), 4,
            padding="same", padding_mode="reflect"),
    _module("Conv2d", "defaults", (2, 2, 4, 3), 2),
    _module("Conv2d", "every option", (1, 2, 4, 4), (2, 3),
            stride=(2, 1), padding=(1, 3), dilation=(1, 2), groups=2, bias=False),
    _module("Conv2d", "same, even kernel", (1, 2, 4, 3), (2, 3), padding="same"),
    _module("Conv2d", "valid", (1, 2, 4, 3), (2, 3), padding="valid", stride=2),
    _module("Conv2d", "a mirror", (1, 2, 4, 3), (2, 3), padding=(3, 2), padding_mode="reflect"),
    _module("Conv2d", "the border again", (1, 2, 4, 3), 3,
            padding=(3, 1), padding_mode="replicate", stride=2),
    _module("Conv2d", "around the end", (1, 2, 4, 3), 3, padding=(1, 2), padding_mode="circular"),
    _module("Conv2d", "same around the end, even kernel, unbatched", (2, 4, 3), (2, 4),
            padding="same", padding_mode="circular"),
    _module("Conv2d", "same as the border, dilation", (1, 2, 4, 3), (2, 3),
            padding="same", padding_mode="replicate", dilation=(3, 2)),
    _module("Conv2d", "a mirror of no width", (1, 2, 4, 3), 2, padding_mode="reflect"),
    _module("Conv3d", "defaults", (1, 2, 3, 3, 2), 2),
    _module("Conv3d", "every option", (1, 2, 3, 3, 2), (1, 2, 2),
            stride=(1, 2, 1), padding=(0, 2, 1), dilation=(1, 2, 1), groups=2, bias=False,
            padding_mode="replicate"),
    _module("Conv3d", "same in a mirror, unbatched", (2, 3, 3, 2), (2, 1, 2),
            padding="same", padding_mode="reflect"),
    _module("ConvTranspose1d", "defaults", (2, 2, 5), 3),
    _module("ConvTranspose1d", "every option", (2, 2, 4), 3,
            stride=3, padding=2, output_padding=2, groups=2, bias=False, dilation=2),
    _sized("ConvTranspose1d", (2, 2, 4), 3, (13,), stride=3),
    _module("ConvTranspose2d", "defaults", (2, 2, 3, 2), 2),
    _module("ConvTranspose2d", "every option", (1, 2, 3, 2), (2, 3),
            stride=(2, 3), padding=(1, 2), output_padding=(1, 2), groups=2, bias=False,
            dilation=(1, 2)),
    _sized("ConvTranspose2d", (1, 2, 3, 2), (2, 3), (7, 4), stride=2, padding=(0, 1)),
    _sized("ConvTranspose2d", (1, 2, 3, 2), 2, (1, 4, 7, 4), stride=2),
    _sized("ConvTranspose2d", (2, 3, 2), 2, (6, 5), stride=2),
]  # fmt: skip

REFUSED: list[Refusal] = []
