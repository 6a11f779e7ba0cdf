"""Cases of flattening, resizing, sums and products with broadcasting, means, concatenation."""

from collections.abc import Callable
from functools import partial
from math import inf, nan
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from cases.case import Call, Inputs, ModuleCase, OpCase, Refusal, by_name

Arguments = Callable[[Inputs], Tensors]


def _normal(*shape: int) -> Arguments:
    return lambda draw: {"input": draw.normal(*shape)}


def _transposed(*shape: int) -> Arguments:
    return lambda draw: {"input": draw.normal(*shape).transpose(-1, -2)}


def _two(first: tuple[int, ...], second: tuple[int, ...]) -> Arguments:
    return lambda draw: {"input": draw.normal(*first), "other": draw.normal(*second)}


def _parts(*shapes: tuple[int, ...]) -> Arguments:
    names = ["input", "second", "third", "fourth"]
    return lambda draw: {
        name: draw.normal(*shape) for name, shape in zip(names, shapes, strict=False)
    }


def _not_finite(draw: Inputs) -> Tensors:
    return {"input": draw.values(nan, inf, -inf, 1.0), "other": draw.values(1.0, -inf, -inf, nan)}


def _several_dtypes(draw: Inputs) -> Tensors:
    return {"input": draw.normal(2, 3), "other": draw.normal(3).double()}


def _as_one_list(function: Callable[..., Any], tensors: Tensors) -> Any:
    return function(list(tensors.values()))


class Add(torch.nn.Module):
    """The reference by torch's own operation; torch.nn has none."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return the sum."""
        return torch.add(input, other)


class Multiply(torch.nn.Module):
    """x y, which torch.nn has no module for."""

    def forward(self, input: Tensor, other: Tensor) -> Tensor:
        """Return the product."""
        return input * other


class Mean(torch.nn.Module):
    """The mean over axes, which torch.nn has no module for."""

    def __init__(self, dim: Any = None, keepdim: bool = False) -> None:
        super().__init__()
        self.dim, self.keepdim = dim, keepdim

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean."""
        return torch.mean(input, self.dim, self.keepdim)

    def extra_repr(self) -> str:
        """Return the constructor's arguments as text."""
        return f"dim={self.dim}, keepdim={self.keepdim}"


class Concat(torch.nn.Module):
    """The reference by torch's own operation; torch.nn has none."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the concatenated tensors."""
        return torch.cat(tensors, self.dim)

    def extra_repr(self) -> str:
        """Return the constructor's arguments as text."""
        return f"dim={self.dim}"


def _case(
    op: str,
    reference: Callable[..., Any] | None,
    call: Call,
    name: str,
    why: str,
    arguments: Arguments,
    **options: Any,
) -> OpCase:
    return OpCase(op, name, why, arguments, options, reference=reference, call=call)


_flatten = partial(_case, "flatten", torch.flatten, by_name)
_shuffle = partial(_case, "pixel_shuffle", None, by_name)
_add = partial(_case, "add", torch.add, by_name)
_mul = partial(_case, "mul", torch.mul, by_name)
_mean = partial(_case, "mean", torch.mean, by_name)
_cat = partial(_case, "cat", torch.cat, _as_one_list)
_resize = partial(_case, "interpolate", None, by_name)

ANTIALIASED = (torch.float32,)  # torch has no 16-bit kernel of it on the CPU
OPS = [
    _flatten("all", "the default makes one axis of all", _normal(2, 3, 2)),
    _flatten("from the second", "the usual call", _normal(2, 3, 2), start_dim=1),
    _flatten("in the middle", "both ends given", _normal(2, 3, 2, 2), start_dim=1, end_dim=2),
    _flatten("negative", "axes counted from the end", _normal(2, 3, 2), start_dim=-2, end_dim=-1),
    _flatten("one axis", "nothing to do", _normal(4), start_dim=0, end_dim=0),
    _flatten("scalar", "becomes a vector of one", _normal()),
    _flatten("transposed", "must copy: the graph has our node", _transposed(2, 3, 2), start_dim=1),
    _flatten("transposed, all", "the gradient's copy", _transposed(3, 4)),
    _flatten("empty", "an empty batch", _normal(0, 3, 2), start_dim=1),
    _flatten("empty, transposed", "an empty copy", _transposed(0, 3, 2), start_dim=1),
    _shuffle("pairs", "the usual call", _normal(2, 4, 2, 3), upscale_factor=2),
    _shuffle("threes", "i and j may not be exchanged", _normal(1, 18, 1, 2), upscale_factor=3),
    _shuffle("by one", "nothing moves", _normal(2, 3, 2, 2), upscale_factor=1),
    _shuffle("unbatched", "no N", _normal(8, 2, 2), upscale_factor=2),
    _shuffle("two batch axes", "all leading axes", _normal(1, 2, 4, 2, 2), upscale_factor=2),
    _shuffle(
        "transposed", "strides other than contiguous", _transposed(1, 4, 3, 2), upscale_factor=2
    ),
    _add("matrices", "the residual connection", _two((4, 5), (4, 5))),
    _add("a row", "an axis that is missing", _two((4, 5), (5,))),
    _add("a column", "an axis of size 1", _two((4, 5), (4, 1))),
    _add("both repeated", "each along another axis", _two((4, 1), (3, 1, 5))),
    _add("a scalar", "every axis is missing", _two((4, 5), ())),
    _add("scalars", "no axis at all", _two((), ())),
    _add("alpha", "z' has a factor", _two((4, 5), (5,)), alpha=-0.5),
    _add("two dtypes", "the wider one, each gradient in its own", _several_dtypes),
    _add("empty", "an empty batch", _two((0, 5), (0, 5))),
    _add("empty, repeated", "the sum of nothing is 0", _two((0, 5), (5,))),
    OpCase("add", "not finite", "NaN passes", _not_finite, smooth=False, reference=torch.add),
    _add("a number", "it has no gradient", _normal(4, 5), other=-1.5),
    _mul("matrices", "a gate", _two((4, 5), (4, 5))),
    _mul("a row", "an axis that is missing", _two((4, 5), (5,))),
    _mul("a column first", "x is repeated", _two((4, 1), (4, 5))),
    _mul("both repeated", "each along another axis", _two((4, 1), (3, 1, 5))),
    _mul("a scalar", "every axis is missing", _two((4, 5), ())),
    _mul("scalars", "no axis at all", _two((), ())),
    _mul("a number", "it has no gradient", _normal(4, 5), other=-1.5),
    _mul("channels of images", "squeeze and excitation", _two((2, 3, 2, 2), (2, 3, 1, 1))),
    _mul("two dtypes", "the wider one, each gradient in its own", _several_dtypes),
    _mul("empty", "an empty batch", _two((0, 5), (0, 5))),
    _mul("empty, repeated", "the sum of nothing is 0", _two((0, 5), (5,))),
    OpCase("mul", "not finite", "NaN passes", _not_finite, smooth=False, reference=torch.mul),
    _mean("all", "the default", _normal(2, 3, 2)),
    _mean("steps", "one axis in the middle", _normal(2, 4, 3), dim=1),
    _mean("positions", "global average pooling", _normal(2, 3, 2, 4), dim=(2, 3)),
    _mean("kept", "axes counted from the end", _normal(2, 3, 4), dim=(-1, 0), keepdim=True),
    _mean("no axis named", "is all of them, as in torch", _normal(2, 3), dim=()),
    _mean("scalar", "of one number", _normal()),
    _mean("scalar, by its axis", "which it has, as in torch", _normal(), dim=0),
    _mean("transposed", "strides other than contiguous", _transposed(3, 4), dim=0),
    _mean("empty", "an empty batch", _normal(0, 3), dim=1),
    _mean("of nothing", "is NaN", _normal(0, 3), dim=0),
    _cat("channels", "the usual call", _parts((2, 1, 3), (2, 3, 3), (2, 2, 3)), dim=1),
    _cat("rows", "the default axis", _parts((1, 3), (2, 3))),
    _cat("last", "an axis counted from the end", _parts((2, 3), (2, 1)), dim=-1),
    _cat("one tensor", "nothing to concatenate it with", _parts((2, 3)), dim=1),
    _cat("four", "many", _parts((1,), (2,), (3,), (1,))),
    _cat("planes", "channels_last is preserved", _parts((2, 1, 2, 3), (2, 2, 2, 3)), dim=1),
    _cat("a part of length 0", "its gradient is empty", _parts((2, 3), (2, 0), (2, 1)), dim=1),
    _cat(
        "an empty vector", "torch lets it stand by any shape", _parts((2, 3), (0,), (2, 1)), dim=1
    ),
    _cat(
        "two dtypes",
        "the wider one, each gradient in its own",
        lambda draw: {"input": draw.normal(2, 3), "second": draw.normal(2, 3).double()},
    ),
    _cat("empty", "an empty batch", _parts((0, 3), (0, 2)), dim=1),
    _resize("nearest", "the usual call", _normal(2, 2, 2, 3), scale_factor=2),
    _resize("nearest, line", "one axis", _normal(2, 2, 4), scale_factor=2.0),
    _resize("nearest, volume", "three axes", _normal(1, 2, 2, 2, 3), scale_factor=(1, 2, 1.5)),
    _resize("nearest, size", "a size that does not divide", _normal(1, 2, 3, 4), size=(5, 7)),
    _resize("nearest, smaller", "inputs left out get no gradient", _normal(1, 2, 5, 4), size=2),
    _resize(
        "nearest, odd scale", "positions follow the scale", _normal(1, 2, 3, 4), scale_factor=1.7
    ),
    _resize(
        "nearest, recomputed",
        "positions follow the sizes",
        _normal(1, 1, 10),
        scale_factor=1.24,
        recompute_scale_factor=True,
    ),
    _resize("nearest, empty", "an empty batch", _normal(0, 2, 2, 3), scale_factor=2),
    _resize(
        "exact, line", "shifted by half a position", _normal(2, 2, 4), size=3, mode="nearest-exact"
    ),
    _resize(
        "exact",
        "shifted by half a position",
        _normal(1, 2, 3, 4),
        size=(5, 3),
        mode="nearest-exact",
    ),
    _resize("exact, volume", "three axes", _normal(1, 1, 2, 3, 2), size=3, mode="nearest-exact"),
    _resize("linear", "one axis", _normal(2, 2, 4), size=7, mode="linear"),
    _resize(
        "linear, corners", "ends meet", _normal(2, 2, 4), size=7, mode="linear", align_corners=True
    ),
    _resize("bilinear", "the usual call", _normal(1, 2, 3, 4), scale_factor=2, mode="bilinear"),
    _resize(
        "bilinear, corners",
        "ends meet, axes of their own scale",
        _normal(1, 2, 3, 4),
        scale_factor=(2, 1.5),
        mode="bilinear",
        align_corners=True,
    ),
    _resize(
        "bilinear, odd scale",
        "positions follow the scale",
        _normal(1, 2, 3, 4),
        scale_factor=1.7,
        mode="bilinear",
        align_corners=False,
    ),
    _resize(
        "bilinear, recomputed",
        "positions follow the sizes",
        _normal(1, 2, 3, 4),
        scale_factor=1.7,
        mode="bilinear",
        recompute_scale_factor=True,
    ),
    _resize(
        "bilinear, smaller",
        "some inputs are skipped",
        _normal(1, 1, 7, 6),
        size=(2, 3),
        mode="bilinear",
    ),
    _resize(
        "bilinear, one pixel",
        "an axis of size 1",
        _normal(2, 2, 1, 1),
        size=(2, 3),
        mode="bilinear",
        align_corners=True,
    ),
    _resize(
        "bilinear, to one pixel",
        "W' - 1 is 0",
        _normal(1, 2, 3, 4),
        size=1,
        mode="bilinear",
        align_corners=True,
    ),
    _resize("trilinear", "three axes", _normal(1, 1, 2, 3, 2), size=(3, 4, 5), mode="trilinear"),
    _resize("bicubic", "negative weights", _normal(1, 2, 4, 4), size=(7, 6), mode="bicubic"),
    _resize(
        "bicubic, corners",
        "ends meet",
        _normal(1, 1, 4, 5),
        size=(7, 6),
        mode="bicubic",
        align_corners=True,
    ),
    OpCase(
        "interpolate",
        "bilinear, antialiased",
        "each output sees all it covers",
        _normal(1, 2, 6, 4),
        {"size": (3, 3), "mode": "bilinear", "antialias": True},
        dtypes=ANTIALIASED,
    ),
    OpCase(
        "interpolate",
        "bicubic, antialiased",
        "each output sees all it covers",
        _normal(1, 1, 7, 5),
        {"scale_factor": 0.6, "mode": "bicubic", "antialias": True},
        dtypes=ANTIALIASED,
    ),
    OpCase(
        "interpolate",
        "bilinear, antialiased, corners",
        "the scale of corners that meet, the positions of those that do not",
        _normal(1, 1, 6, 3),
        {"size": (3, 5), "mode": "bilinear", "antialias": True, "align_corners": True},
        dtypes=ANTIALIASED,
    ),
]

MODULES = [
    ModuleCase("Flatten", "defaults", {}, _normal(2, 3, 2)),
    ModuleCase(
        "Flatten", "both ends, a copy", {"start_dim": -2, "end_dim": 2}, _transposed(2, 2, 3)
    ),
    ModuleCase("Unflatten", "a pair", {"dim": 1, "unflattened_size": (2, 3)}, _normal(2, 6)),
    ModuleCase(
        "Unflatten",
        "one length inferred, transposed",
        {"dim": -2, "unflattened_size": [3, -1]},
        _transposed(2, 2, 6),
    ),
    ModuleCase("PixelShuffle", "the usual call", {"upscale_factor": 2}, _normal(2, 4, 2, 3)),
    ModuleCase("Upsample", "size", {"size": 3}, _normal(1, 2, 2, 2)),
    ModuleCase("Upsample", "scale", {"scale_factor": 2}, _normal(1, 2, 2, 3)),
    ModuleCase(
        "Upsample",
        "scales, exact",
        {"scale_factor": (2, 1.5), "mode": "nearest-exact"},
        _normal(1, 2, 2, 3),
    ),
    ModuleCase(
        "Upsample",
        "every option",
        {
            "scale_factor": 1.7,
            "mode": "bilinear",
            "align_corners": False,
            "recompute_scale_factor": True,
        },
        _normal(1, 2, 3, 3),
    ),
    ModuleCase(
        "Upsample",
        "corners",
        {"size": (4, 5), "mode": "bilinear", "align_corners": True},
        _normal(1, 2, 3, 3),
    ),
    ModuleCase("Upsample", "bicubic", {"size": (4, 5), "mode": "bicubic"}, _normal(1, 1, 3, 3)),
    ModuleCase("Upsample", "line", {"scale_factor": 2, "mode": "linear"}, _normal(1, 2, 3)),
    ModuleCase("Upsample", "volume", {"size": 3, "mode": "trilinear"}, _normal(1, 1, 2, 2, 3)),
    ModuleCase("Add", "the residual connection", {}, _two((2, 3), (2, 3)), reference=Add),
    ModuleCase("Add", "broadcast", {}, _two((2, 3), (3,)), reference=Add),
    ModuleCase("Multiply", "a gate", {}, _two((2, 3), (2, 3)), reference=Multiply),
    ModuleCase("Multiply", "broadcast", {}, _two((2, 3), (3,)), reference=Multiply),
    ModuleCase("Mean", "positions", {"dim": (2, 3)}, _normal(2, 3, 2, 2), reference=Mean),
    ModuleCase("Mean", "kept", {"dim": 1, "keepdim": True}, _normal(2, 3), reference=Mean),
    ModuleCase("Concat", "channels", {}, _parts((2, 1, 3), (2, 2, 3)), reference=Concat),
    ModuleCase(
        "Concat",
        "another axis, three parts",
        {"dim": -1},
        _parts((2, 1), (2, 2), (2, 1)),
        reference=Concat,
    ),
]

REFUSED = [
    Refusal("Upsample", {"size": 2, "mode": "area"}, "mode", "it is AdaptiveAvgPool2d"),
    Refusal("Upsample", {"size": 2, "mode": "lanczos"}, "mode", "torch has it on the CPU alone"),
]
