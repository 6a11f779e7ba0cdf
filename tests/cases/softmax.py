"""Cases of softmax and its logarithm."""

import warnings
from collections.abc import Callable
from functools import wraps
from math import inf, nan
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

Draw = Callable[[Inputs], Tensors]


def _scores(*shape: int, scale: float = 1.0) -> Draw:
    return lambda draw: {"input": draw.normal(*shape, scale=scale)}


def _rows(*rows: tuple[float, ...]) -> Draw:
    return lambda draw: {"input": torch.stack([draw.values(*row) for row in rows])}


def _transposed(draw: Inputs) -> Tensors:
    return {"input": draw.normal(5, 4).t()}


def _silent(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return torch's function without its warning that dim=None is deprecated."""

    @wraps(function)
    def without_warning(*arguments: Any, **options: Any) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return function(*arguments, **options)

    return without_warning


def _softmaxes(
    name: str, why: str, arguments: Draw, smooth: bool = True, **options: Any
) -> list[OpCase]:
    return [
        OpCase(
            op,
            name,
            why,
            arguments,
            options,
            smooth,
            reference=_silent(getattr(torch.nn.functional, op)),
        )
        for op in ("softmax", "log_softmax")
    ]


OPS = [
    *_softmaxes("classes", "the usual shape", _scores(4, 5), dim=1),
    *_softmaxes("last", "a negative dim", _scores(2, 3, 4), dim=-1),
    *_softmaxes("first", "classes far apart in memory", _scores(5, 4), dim=0),
    *_softmaxes("pixels", "a middle axis, in either memory format", _scores(2, 3, 2, 2), dim=1),
    *_softmaxes("long", "an axis longer than a vector register", _scores(2, 30), dim=1),
    *_softmaxes("transposed", "strides other than contiguous", _transposed, dim=1),
    *_softmaxes("one class", "y is 1 and its gradient 0", _scores(4, 1), dim=1),
    *_softmaxes("scalar", "a scalar has an axis 0", _scores(), dim=0),
    *_softmaxes("scalar, from the end", "axis -1 too", _scores(), dim=-1),
    *_softmaxes("empty", "an empty batch", _scores(0, 5), dim=1),
    *_softmaxes("no class", "an empty axis", _scores(4, 0), dim=1),
    *_softmaxes("no dim, no axis", "torch takes axis 0", _scores()),
    *_softmaxes("no dim, 1 axis", "torch takes axis 0", _scores(5)),
    *_softmaxes("no dim, 2 axes", "torch takes axis 1", _scores(3, 4)),
    *_softmaxes("no dim, 3 axes", "torch takes axis 0", _scores(2, 3, 4)),
    *_softmaxes("no dim, 4 axes", "torch takes axis 1", _scores(2, 3, 2, 2), dim=None),
    *_softmaxes("no dim, 5 axes", "torch takes axis 1", _scores(2, 3, 1, 2, 1), dim=None),
    *_softmaxes("large", "e^x alone would overflow", _scores(4, 5, scale=1e3), False, dim=1),
    *_softmaxes(
        "masked", "-inf gives probability 0", _rows((1, -inf, 2), (0, 0, -inf)), False, dim=1
    ),
    *_softmaxes("all masked", "0 / 0 is NaN", _rows((-inf, -inf), (1, 2)), False, dim=1),
    *_softmaxes(
        "not finite", "NaN must reach the monitor", _rows((nan, 1), (inf, 2)), False, dim=1
    ),
    *_softmaxes("to float64", "wider than x", _scores(4, 5), dim=1, dtype=torch.float64),
    *_softmaxes(
        "to float32",
        "16-bit x; float64 x is rounded: finite differences see its steps",
        _scores(4, 5),
        False,
        dim=1,
        dtype=torch.float32,
    ),
    *_softmaxes(
        "to bfloat16", "narrower than x", _scores(4, 5), False, dim=1, dtype=torch.bfloat16
    ),
]


class _Softmax(torch.nn.Softmax):
    """torch's, without its warning."""

    forward = _silent(torch.nn.Softmax.forward)

    def _get_name(self) -> str:
        return "Softmax"


class _LogSoftmax(torch.nn.LogSoftmax):
    """torch's, without its warning."""

    forward = _silent(torch.nn.LogSoftmax.forward)

    def _get_name(self) -> str:
        return "LogSoftmax"


MODULES = [
    case
    for reference in (_Softmax, _LogSoftmax)
    for case in (
        ModuleCase(
            reference.__name__[1:],
            "dim is chosen as torch does",
            {},
            _scores(2, 3, 4),
            reference=reference,
        ),
        ModuleCase(reference.__name__[1:], "classes", {"dim": 1}, _scores(4, 5)),
        ModuleCase(
            reference.__name__[1:],
            "last axis, evaluation",
            {"dim": -1},
            _scores(2, 3, 4),
            training=False,
        ),
    )
]
