"""Cases of the functions of one element."""

from collections.abc import Callable
from math import inf, nan

from bptrain.verify.case import Inputs, ModuleCase, OpCase, Refusal, Tensors


def _elements(*shape: int) -> Callable[[Inputs], Tensors]:
    return lambda draw: {"input": draw.off_zero(*shape)}


def _saturated(draw: Inputs) -> Tensors:
    return {"input": draw.values(-1e4, -100.0, -20.0, 0.5, 20.0, 100.0, 1e4)}


def _not_finite(draw: Inputs) -> Tensors:
    return {"input": draw.values(nan, inf, -inf, 1.0)}


def _activation(op: str) -> list[OpCase]:
    return [
        OpCase(op, "matrix", "the usual shape", _elements(4, 5)),
        OpCase(op, "scalar", "no axis at all", _elements()),
        OpCase(op, "empty", "an empty batch must not fail", _elements(0, 5)),
        OpCase(op, "saturated", "a saturated gate gives 0, not NaN", _saturated, smooth=False),
        OpCase(op, "not finite", "NaN must reach the monitor", _not_finite, smooth=False),
    ]


OPS = [
    *_activation("relu"),
    *_activation("tanh"),
    *_activation("sigmoid"),
]

MODULES = [
    ModuleCase("ReLU", "no parameter", {}, _elements(4, 5)),
    ModuleCase("Tanh", "no parameter", {}, _elements(4, 5)),
    ModuleCase("Sigmoid", "no parameter", {}, _elements(4, 5)),
]

REFUSED = [
    Refusal("ReLU", {"inplace": True}, "inplace", "the layer before may have kept what it erases"),
]
