"""Cases of the dropouts: each run and its torch.nn counterpart draw the mask from the same seed."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

Arguments = Callable[[Inputs], Tensors]


def _normal(*shape: int) -> Arguments:
    return lambda draw: {"input": draw.normal(*shape)}


def _not_finite(draw: Inputs) -> Tensors:
    return {"input": draw.values(*[nan, inf, -inf, 1.0] * 4).view(2, 4, 2)}


def _dropout(op: str, name: str, why: str, arguments: Arguments, **options: Any) -> OpCase:
    return OpCase(op, name, why, arguments, {"training": True} | options, random=True)


def _any_dropout(op: str, *shape: int) -> list[OpCase]:
    return [
        _dropout(op, "half", "the usual call", _normal(*shape)),
        _dropout(op, "few", "s is not 2", _normal(*shape), p=0.2),
        _dropout(op, "most", "s is large", _normal(*shape), p=0.9),
        _dropout(op, "none", "p = 0: the input itself", _normal(*shape), p=0.0),
        _dropout(op, "all", "p = 1: nothing is drawn, s would be infinite", _normal(*shape), p=1.0),
        _dropout(op, "not training", "the input itself", _normal(*shape), training=False),
        _dropout(op, "empty", "an empty batch", _normal(0, *shape[1:])),
        OpCase(
            op,
            "not finite",
            "a dropped NaN reaches the monitor, as 0 times NaN",
            _not_finite,
            {"training": True},
            smooth=False,
            random=True,
        ),
    ]


OPS = [
    *_any_dropout("dropout", 4, 5),
    _dropout("dropout", "scalar", "no axis at all", _normal()),
    _dropout(
        "dropout", "planes", "channels_last: the mask follows the memory", _normal(2, 3, 2, 2)
    ),
    *_any_dropout("dropout1d", 4, 3, 2),
    _dropout("dropout1d", "unbatched", "no N", _normal(5, 3)),
    # torch warns that three axes will become [C, H, W] one day: tests/ops/test_dropout.py
    *[case for case in _any_dropout("dropout2d", 4, 3, 2, 1) if case.name != "not finite"],
    *_any_dropout("alpha_dropout", 4, 5),
    _dropout("alpha_dropout", "planes", "channels_last", _normal(2, 3, 2, 2)),
]


def _module(module: str, why: str, training: bool = True, **options: Any) -> ModuleCase:
    shape = {"Dropout1d": (3, 4, 2), "Dropout2d": (3, 4, 2, 2)}.get(module, (4, 5))
    return ModuleCase(module, why, options, _normal(*shape), training, random=True)


MODULES = [
    case
    for module in ("Dropout", "Dropout1d", "Dropout2d", "AlphaDropout")
    for case in (
        _module(module, "defaults"),
        _module(module, "another p", p=0.2),
        _module(module, "evaluation", training=False),
        _module(module, "p = 0", p=0.0),
        _module(module, "p = 1", p=1.0),
    )
]
