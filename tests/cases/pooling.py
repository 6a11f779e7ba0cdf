"""Cases of max and average pooling."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

Arguments = Callable[[Inputs], Tensors]


def _distinct(*shape: int) -> Arguments:
    """Draw values without ties: at a tie the maximum has a kink."""
    return lambda draw: {"input": draw.distinct(*shape)}


def _normal(*shape: int) -> Arguments:
    return lambda draw: {"input": draw.normal(*shape)}


def _ties(draw: Inputs) -> Tensors:
    return {"input": draw.classes(2, 2, 4, 4, classes=2).to(draw.dtype)}


def _not_finite(draw: Inputs) -> Tensors:
    """Draw four windows: with NaNs, with infinities, of -inf only, of finite numbers."""
    values = [nan, 1, inf, 0, 2, nan, 3, -inf, -inf, -inf, 1, 2, -inf, -inf, 0, 4]
    return {"input": draw.values(*values).view(1, 1, 4, 4)}


def _max1(name: str, why: str, *shape: int, **options: Any) -> OpCase:
    return OpCase("max_pool1d", name, why, _distinct(*shape), options)


def _max2(name: str, why: str, *shape: int, **options: Any) -> OpCase:
    return OpCase("max_pool2d", name, why, _distinct(*shape), options)


def _adaptive_max(name: str, why: str, *shape: int, **options: Any) -> OpCase:
    return OpCase("adaptive_max_pool2d", name, why, _distinct(*shape), options)


def _avg1(name: str, why: str, *shape: int, **options: Any) -> OpCase:
    return OpCase("avg_pool1d", name, why, _normal(*shape), options)


def _avg2(name: str, why: str, *shape: int, **options: Any) -> OpCase:
    return OpCase("avg_pool2d", name, why, _normal(*shape), options)


def _adaptive1(name: str, why: str, *shape: int, output_size: Any) -> OpCase:
    options = {"output_size": output_size}
    return OpCase("adaptive_avg_pool1d", name, why, _normal(*shape), options)


def _adaptive2(name: str, why: str, *shape: int, output_size: Any) -> OpCase:
    options = {"output_size": output_size}
    return OpCase("adaptive_avg_pool2d", name, why, _normal(*shape), options)


MAXIMA = [
    _max1("pairs", "stride is the window's size where it is not given", 2, 3, 6, kernel_size=2),
    _max1(
        "overlap", "an element may be the maximum of two windows", 2, 2, 7, kernel_size=3, stride=2
    ),
    _max1("single", "one-element lists stand for one axis", 2, 2, 6, kernel_size=[2], stride=[1]),
    _max1("padded", "the window begins before the line", 2, 2, 5, kernel_size=3, padding=1),
    _max1("dilated", "the window has holes", 2, 2, 9, kernel_size=2, stride=1, dilation=3),
    _max1("ceil", "the last window is cut off", 2, 2, 6, kernel_size=4, stride=3, ceil_mode=True),
    _max1("indices", "their position along W", 2, 2, 6, kernel_size=2, return_indices=True),
    _max1("unbatched", "no N", 3, 6, kernel_size=2),
    _max1("empty", "an empty batch", 0, 3, 6, kernel_size=2),
    _max2("pairs", "windows that neither overlap nor miss a position", 2, 2, 4, 4, kernel_size=2),
    _max2(
        "overlap",
        "an element may be the maximum of four windows",
        1,
        2,
        5,
        5,
        kernel_size=3,
        stride=1,
    ),
    _max2(
        "everything differs",
        "an option of the other axis would be seen",
        *(1, 2, 5, 6),
        kernel_size=(2, 3),
        stride=(2, 1),
        padding=(0, 1),
        dilation=(2, 1),
    ),
    _max2(
        "padded",
        "windows begin before the plane, at its corners by two axes",
        *(2, 1, 4, 5),
        kernel_size=3,
        stride=2,
        padding=1,
    ),
    _max2(
        "ceil",
        "the last windows are cut off, those of padding alone left out",
        *(1, 2, 5, 5),
        kernel_size=2,
        stride=2,
        padding=1,
        ceil_mode=True,
    ),
    _max2("gaps", "positions between windows get no gradient", 2, 1, 5, 5, kernel_size=1, stride=2),
    _max2("one window", "one maximum of the whole plane", 2, 3, 3, 3, kernel_size=3),
    _max2("one column", "an axis of size 1", 2, 2, 6, 1, kernel_size=(2, 1)),
    _max2("indices", "the position in the plane", 1, 2, 5, 4, kernel_size=2, return_indices=True),
    _max2("unbatched", "no N", 2, 4, 4, kernel_size=2),
    _max2("empty", "an empty batch", 0, 2, 4, 4, kernel_size=2),
    OpCase("max_pool2d", "ties", "the first wins", _ties, {"kernel_size": 2}, smooth=False),
    OpCase(
        "max_pool2d",
        "not finite",
        "NaN must reach the monitor; -inf can win against padding",
        _not_finite,
        {"kernel_size": 2, "stride": 1, "padding": 1},
        smooth=False,
    ),
    _adaptive_max("divides", "windows of one size, no overlap", 1, 2, 4, 6, output_size=(2, 3)),
    _adaptive_max("overlap", "windows share a position", 1, 2, 5, 5, output_size=3),
    _adaptive_max("widest", "a window longer than the quotient", 1, 1, 7, 10, output_size=(3, 7)),
    _adaptive_max(
        "more than there is",
        "one element is the maximum of many windows",
        1,
        2,
        2,
        3,
        output_size=5,
    ),
    _adaptive_max("None", "as many as the input has", 1, 2, 4, 3, output_size=(None, 2)),
    _adaptive_max("one", "the whole plane", 2, 2, 3, 4, output_size=1),
    _adaptive_max("indices", "saved", 1, 2, 5, 4, output_size=2, return_indices=True),
    _adaptive_max("unbatched", "no N", 2, 5, 4, output_size=2),
    _adaptive_max("empty", "an empty batch", 0, 2, 4, 4, output_size=2),
    OpCase(
        "adaptive_max_pool2d",
        "ties",
        "the first wins",
        _ties,
        {"output_size": 3},
        smooth=False,
    ),
]

MEANS = [
    _avg1("pairs", "stride is the window's size where it is not given", 2, 3, 6, kernel_size=2),
    _avg1("overlap", "an element gets two gradients", 2, 2, 7, kernel_size=[3], stride=[2]),
    _avg1("padded", "padding counts", 2, 2, 5, kernel_size=3, padding=1),
    _avg1(
        "padded, not counted",
        "windows at the edge divide by less",
        *(2, 2, 5),
        kernel_size=3,
        padding=1,
        count_include_pad=False,
    ),
    _avg1("ceil", "the last window is cut off", 2, 2, 6, kernel_size=4, stride=3, ceil_mode=True),
    _avg1("unbatched", "no N", 3, 6, kernel_size=2),
    _avg1("empty", "an empty batch", 0, 3, 6, kernel_size=2),
    _avg2("pairs", "windows that neither overlap nor miss a position", 2, 2, 4, 4, kernel_size=2),
    _avg2("overlap", "an element gets up to nine gradients", 1, 2, 5, 5, kernel_size=3, stride=1),
    _avg2(
        "everything differs",
        "an option of the other axis would be seen",
        *(1, 2, 5, 6),
        kernel_size=(3, 2),
        stride=(2, 3),
        padding=(1, 0),
    ),
    _avg2(
        "ceil and padded",
        "a window reaches beyond the padding, whose positions never count",
        *(1, 2, 5, 5),
        kernel_size=3,
        stride=3,
        padding=1,
        ceil_mode=True,
    ),
    _avg2(
        "not counted",
        "windows at the edge divide by less",
        *(1, 2, 5, 5),
        kernel_size=3,
        stride=2,
        padding=1,
        ceil_mode=True,
        count_include_pad=False,
    ),
    _avg2(
        "divisor",
        "the number of positions has no effect",
        1,
        2,
        4,
        4,
        kernel_size=2,
        divisor_override=3,
    ),
    _avg2("one column", "an axis of size 1", 2, 2, 6, 1, kernel_size=(2, 1)),
    _avg2("unbatched", "no N; rows and columns differ", 2, 6, 4, kernel_size=2),
    _avg2("empty", "an empty batch", 0, 2, 4, 4, kernel_size=2),
    OpCase("avg_pool2d", "not finite", "NaN passes", _not_finite, {"kernel_size": 2}, smooth=False),
    _adaptive1("divides", "windows of one size", 2, 3, 6, output_size=3),
    _adaptive1("overlap", "windows share a position", 2, 2, 7, output_size=[3]),
    _adaptive1("one", "the mean of the line", 2, 3, 5, output_size=1),
    _adaptive1("more than there is", "positions repeat", 2, 2, 3, output_size=5),
    _adaptive1("unbatched", "no N", 3, 6, output_size=2),
    _adaptive1("empty", "an empty batch", 0, 3, 6, output_size=2),
    _adaptive2("divides", "windows of one size, no overlap", 1, 2, 4, 6, output_size=(2, 3)),
    _adaptive2("overlap", "windows share a position", 1, 2, 5, 5, output_size=3),
    _adaptive2(
        "one", "the mean of the plane, which has a path of its own", 2, 3, 3, 4, output_size=1
    ),
    _adaptive2("one row", "one along one axis alone", 2, 2, 3, 4, output_size=(1, 2)),
    _adaptive2("None", "as many as the input has", 1, 2, 4, 3, output_size=(None, 2)),
    _adaptive2("more than there is", "positions repeat", 1, 2, 2, 3, output_size=(4, 5)),
    _adaptive2("one, unbatched", "no N", 3, 3, 4, output_size=(1, 1)),
    _adaptive2("unbatched", "no N", 2, 5, 4, output_size=2),
    _adaptive2("one, empty", "an empty batch", 0, 2, 4, 4, output_size=1),
    _adaptive2("empty", "an empty batch", 0, 2, 4, 4, output_size=2),
    OpCase(
        "adaptive_avg_pool2d",
        "not finite",
        "NaN passes",
        _not_finite,
        {"output_size": 2},
        smooth=False,
    ),
]

OPS = [*MAXIMA, *MEANS]


def _module(module: str, why: str, arguments: Arguments, **options: Any) -> ModuleCase:
    return ModuleCase(module, why, options, arguments)


EVERY_MAX = {"stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True, "return_indices": True}
EVERY_AVG = {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}
MODULES = [
    _module("MaxPool1d", "defaults", _distinct(2, 3, 6), kernel_size=2),
    _module("MaxPool1d", "every option", _distinct(2, 2, 8), kernel_size=3, **EVERY_MAX),
    _module("MaxPool2d", "defaults", _distinct(2, 2, 4, 4), kernel_size=2),
    _module("MaxPool2d", "every option", _distinct(1, 1, 7, 8), kernel_size=(3, 2), **EVERY_MAX),
    ModuleCase(
        "MaxPool2d", "the mode has no effect", {"kernel_size": 2}, _distinct(1, 2, 4, 4), False
    ),
    _module("AvgPool1d", "defaults", _normal(2, 3, 6), kernel_size=2),
    _module("AvgPool1d", "every option", _normal(2, 2, 8), kernel_size=3, **EVERY_AVG),
    _module("AvgPool2d", "defaults", _normal(2, 2, 4, 4), kernel_size=2),
    _module("AvgPool2d", "every option", _normal(1, 2, 6, 5), kernel_size=(3, 2), **EVERY_AVG),
    _module("AvgPool2d", "divisor", _normal(1, 2, 4, 4), kernel_size=2, divisor_override=3),
    _module("AdaptiveAvgPool1d", "overlap", _normal(2, 3, 7), output_size=3),
    _module("AdaptiveAvgPool2d", "a pair with None", _normal(1, 2, 5, 4), output_size=(None, 3)),
    _module("AdaptiveAvgPool2d", "one", _normal(2, 2, 3, 4), output_size=1),
    _module("AdaptiveMaxPool2d", "overlap", _distinct(1, 2, 5, 5), output_size=3),
    _module(
        "AdaptiveMaxPool2d",
        "every option",
        _distinct(1, 2, 5, 4),
        output_size=(3, None),
        return_indices=True,
    ),
]
