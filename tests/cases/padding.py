"""Cases of padding."""

from collections.abc import Callable
from math import nan
from typing import Any

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal


def _normal(*shape: int) -> Callable[[Inputs], Tensors]:
    return lambda draw: {"input": draw.normal(*shape)}


def _not_finite(draw: Inputs) -> Tensors:
    return {"input": draw.values(1.0, nan, 2.0, 3.0).view(1, 1, 4)}


def _pad(name: str, why: str, input: Any, pad: tuple[int, ...], **options: Any) -> OpCase:
    arguments = _normal(*input) if isinstance(input, tuple) else input
    smooth = isinstance(input, tuple)
    return OpCase("pad", f"{name} {list(pad)}", why, arguments, {"pad": pad} | options, smooth)


def _copies(mode: str, name: str, why: str, input: Any, *pad: int) -> OpCase:
    return _pad(f"{mode}, {name}", why, input, pad, mode=mode)


def _copying(mode: str) -> list[OpCase]:
    """Return the cases that every padding mode that copies elements must pass."""
    return [
        _copies(mode, "line", "a batch of lines", (2, 3, 4), 2, 1),
        _copies(mode, "line, unbatched", "the first axis counts channels", (3, 4), 1, 3),
        _copies(mode, "image", "a corner is a copy of a copy", (1, 2, 4, 3), 2, 1, 1, 3),
        _copies(mode, "image, unbatched", "the first axis counts channels", (2, 4, 3), 1, 2, 3, 0),
        _copies(mode, "volume", "a corner is a copy thrice", (1, 2, 3, 2, 3), 2, 1, 1, 0, 0, 2),
        _copies(mode, "volume, unbatched", "channels, then axes", (2, 3, 2, 2), 1, 0, 0, 1, 1, 2),
        _copies(mode, "one side", "a frame in front alone", (2, 2, 4), 3, 0),
        _copies(mode, "no frame", "not even the memory is shared", (2, 2, 4), 0, 0),
        _copies(mode, "rows alone", "an axis without a frame", (1, 2, 4, 3), 0, 0, 2, 1),
        _copies(mode, "grow and cut", "a frame in front, an end cut off", (2, 2, 5), 2, -1),
        _copies(mode, "cut and grow", "a start cut off", (2, 2, 5), -1, 2),
        _copies(mode, "cut", "no copy at all", (1, 2, 4, 3), -1, -1, 0, -2),
        _copies(mode, "empty", "an empty batch must not fail", (0, 2, 4, 3), 2, 1, 1, 0),
        _copies(mode, "not finite", "the copies of a NaN are NaN", _not_finite, 2, 2),
    ]  # fmt: skip


OPS = [
    _pad("zeros", "the usual call", (2, 3, 4), (1, 2)),
    _pad("value", "the constant has no gradient", (2, 3, 4), (1, 2, 2, 0), value=1.5),
    _pad("cut", "negative numbers cut off: x' is 0 there", (3, 4), (-1, -2, 0, -1)),
    _pad("grow and cut", "both at once", (3, 4), (2, -1, -2, 3), value=-1.0),
    _pad("every axis", "as many axes as there are", (2, 2, 3), (1, 0, 0, 2, 1, 1)),
    _pad("images", "the memory format is preserved", (1, 2, 4, 3), (1, 2, 0, 1)),
    _pad("no frame", "nothing to do, and nothing shared with the input", (2, 3), (0, 0)),
    _pad("no axis", "an empty list leaves a scalar alone", (), ()),
    _pad("empty", "an empty batch must not fail", (0, 3), (1, 2)),
    _pad("not finite", "NaN must reach the monitor", _not_finite, (1, 1), value=2.0),
    *_copying("reflect"),
    *_copying("replicate"),
    *_copying("circular"),
    _copies("reflect", "one element", "a frame of none is all that it can have", (2, 2, 1), 0, 0),
    _copies("replicate", "one element", "both frames read the one", (2, 2, 1), 3, 2),
    _copies("circular", "all around", "whole copies in front and behind", (2, 2, 3), 3, 3),
]

MODULES = [
    ModuleCase("ZeroPad2d", "one number", {"padding": 2}, _normal(1, 2, 3, 2)),
    ModuleCase(
        "ZeroPad2d",
        "a number for each side, one of them cutting off",
        {"padding": (1, 0, -1, 3)},
        _normal(2, 2, 3, 3),
    ),
    ModuleCase("ZeroPad2d", "unbatched", {"padding": (0, 1, 2, 0)}, _normal(2, 3, 2)),
]

REFUSED: list[Refusal] = []
