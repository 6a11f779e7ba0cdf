"""Cases of the binary cross-entropies: a label from 0 to 1 for each element."""

from collections.abc import Callable
from math import nan
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

Arguments = Callable[[Inputs], Tensors]
LABEL_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.1, 1.5], dtype=torch.float64)
POSITIVE_WEIGHTS = torch.tensor([2.0, 0.5, 1.0, 3.0, 1.5], dtype=torch.float64)
CONSTANTS = ("weight", "pos_weight")


def _labeled(
    *shape: int,
    logits: bool = False,
    weight: tuple[int, ...] | None = None,
    pos_weight: tuple[int, ...] | None = None,
) -> Arguments:
    def arguments(draw: Inputs) -> Tensors:
        tensors = {
            "input": draw.normal(*shape) if logits else draw.uniform(*shape, low=0.05, high=0.95),
            "target": draw.uniform(*shape),
        }
        if weight is not None:
            tensors["weight"] = draw.uniform(*weight, low=0.2, high=2)
        if pos_weight is not None:
            tensors["pos_weight"] = draw.uniform(*pos_weight, low=0.2, high=2)
        return tensors

    return arguments


def _certain(draw: Inputs) -> Tensors:
    return {"input": draw.values(0, 1, 0, 1, 1e-3), "target": draw.values(0, 1, 1, 0, 0)}


def _saturated(draw: Inputs) -> Tensors:
    logits = draw.values(1e4, -1e4, 1e4, -1e4, 100, -100, 0)
    return {"input": logits, "target": draw.values(1, 1, 0, 0, 0.5, 0.5, 1)}


def _saturated_weighted(draw: Inputs) -> Tensors:
    return _saturated(draw) | {"pos_weight": draw.values(3)}


def _not_finite(draw: Inputs) -> Tensors:
    return {"input": draw.values(nan, 1, 0.5), "target": draw.values(0, nan, 1)}


def _probabilities(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("binary_cross_entropy", name, why, arguments, options, smooth, CONSTANTS)


def _logits(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    op = "binary_cross_entropy_with_logits"
    return OpCase(op, name, why, arguments, options, smooth, CONSTANTS)


OPS = [
    _probabilities("mean", "the usual call", _labeled(4, 5)),
    _probabilities("sum", "no division", _labeled(4, 5), reduction="sum"),
    _probabilities("none", "a gradient per element", _labeled(2, 3, 2, 2), reduction="none"),
    _probabilities("weight", "the mean still divides by M", _labeled(4, 5, weight=(4, 5))),
    _probabilities(
        "weight by column", "it is broadcast", _labeled(4, 5, weight=(5,)), reduction="sum"
    ),
    _probabilities(
        "weight by row, none", "it is broadcast", _labeled(4, 5, weight=(4, 1)), reduction="none"
    ),
    _probabilities("scalar", "no axis", _labeled()),
    OpCase(
        "binary_cross_entropy",
        "certain",
        "the bounds of the logarithm and of the denominator; torch's t' is infinite",
        _certain,
        {"reduction": "none"},
        smooth=False,
        constants=("target",),
    ),
    _probabilities("empty", "the mean of nothing is NaN", _labeled(0, 3), smooth=False),
    _logits("mean", "the usual call", _labeled(4, 5, logits=True)),
    _logits("sum", "no division", _labeled(4, 5, logits=True), reduction="sum"),
    _logits("none", "a gradient per element", _labeled(2, 3, 2, 2, logits=True), reduction="none"),
    _logits("weight", "the mean divides by M", _labeled(4, 5, logits=True, weight=(4, 1))),
    _logits(
        "pos_weight",
        "the label 1 counts more",
        _labeled(4, 5, logits=True, pos_weight=(5,)),
    ),
    _logits(
        "both weights, none",
        "q is in the loss and w before it",
        _labeled(4, 5, logits=True, weight=(4, 5), pos_weight=(1,)),
        reduction="none",
    ),
    _logits(
        "pixels",
        "a weight for each channel",
        _labeled(2, 3, 2, 2, logits=True, pos_weight=(3, 1, 1)),
        reduction="sum",
    ),
    _logits("scalar", "no axis", _labeled(logits=True)),
    _logits("saturated", "e^1e4 would overflow", _saturated, smooth=False, reduction="none"),
    _logits("saturated, mean", "float16 would overflow in a sum", _saturated, smooth=False),
    _logits(
        "saturated, pos_weight",
        "infinity minus infinity nowhere",
        _saturated_weighted,
        smooth=False,
        reduction="none",
    ),
    _logits("not finite", "NaN must reach the monitor", _not_finite, False, reduction="none"),
    _logits("empty", "the mean of nothing is NaN", _labeled(0, 3, logits=True), smooth=False),
    _logits("empty, sum", "an empty batch", _labeled(0, 3, logits=True), reduction="sum"),
]

MODULES = [
    ModuleCase("BCELoss", "defaults", {}, _labeled(4, 5)),
    ModuleCase(
        "BCELoss",
        "every option reaches the function",
        {"weight": LABEL_WEIGHTS, "reduction": "sum"},
        _labeled(4, 5),
    ),
    ModuleCase("BCEWithLogitsLoss", "defaults", {}, _labeled(4, 5, logits=True)),
    ModuleCase(
        "BCEWithLogitsLoss",
        "every option reaches the function",
        {"weight": LABEL_WEIGHTS, "reduction": "sum", "pos_weight": POSITIVE_WEIGHTS},
        _labeled(4, 5, logits=True),
    ),
    ModuleCase(
        "BCEWithLogitsLoss",
        "weights apart from each other",
        {"reduction": "none", "pos_weight": POSITIVE_WEIGHTS},
        _labeled(4, 5, logits=True),
    ),
]

DEPRECATED = "torch deprecated it, reduction says the same"
REFUSED = [
    Refusal("BCELoss", {"reduce": True}, "reduce", DEPRECATED),
    Refusal("BCEWithLogitsLoss", {"size_average": True}, "size_average", DEPRECATED),
]
