"""Cases of the losses that compare a prediction with a target of the same shape."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

Arguments = Callable[[Inputs], Tensors]


def _prediction(*shape: int, weight: bool = False, kinks: tuple[float, ...] = (0,)) -> Arguments:
    """Draw a prediction whose error is at a distance from the kinks."""

    def arguments(draw: Inputs) -> Tensors:
        target = draw.normal(*shape)
        tensors = {"input": target + draw.off(kinks, *shape), "target": target}
        return tensors | ({"weight": draw.uniform(*shape, low=0.2, high=2)} if weight else {})

    return arguments


def _exact(draw: Inputs) -> Tensors:
    return {"input": draw.values(1, 2, -3, 0), "target": draw.values(1, -2, -3, 0)}


def _far(draw: Inputs) -> Tensors:
    return {"input": draw.values(1e4, -1e4, 3e4), "target": draw.values(-1e4, 1e4, 0)}


def _not_finite(draw: Inputs) -> Tensors:
    return {"input": draw.values(nan, inf, -inf, 1), "target": draw.values(0, 0, 0, nan)}


def _errors(op: str, has_weight: bool = True, **options: Any) -> list[OpCase]:
    def case(
        name: str, why: str, arguments: Arguments, reduction: str = "mean", smooth: bool = True
    ) -> OpCase:
        name = ", ".join([name, *(f"{key} {value}" for key, value in options.items())])
        return OpCase(op, name, why, arguments, {"reduction": reduction, **options}, smooth)

    cases = [
        case("mean", "the usual call", _prediction(4, 5)),
        case("sum", "no division", _prediction(4, 5), "sum"),
        case("none", "a gradient per element", _prediction(2, 3, 2, 2), "none"),
        case("vector", "one axis", _prediction(6)),
        case("scalar", "no axis", _prediction()),
        case("exact", "at the kink of an absolute value", _exact, "none", smooth=False),
        case("far", "a square in float16 would overflow", _far, smooth=False),
        case("not finite", "NaN must reach the monitor", _not_finite, "none", smooth=False),
        case("empty", "the mean of nothing is NaN", _prediction(0, 3), smooth=False),
        case("empty, sum", "an empty batch", _prediction(0, 3), "sum"),
    ]
    if has_weight:
        cases += [
            case("weight", "what the mean divides by", _prediction(4, 5, weight=True)),
            case("weight, sum", "no division", _prediction(4, 5, weight=True), "sum"),
            case("weight, none", "two factors", _prediction(2, 3, 2, 2, weight=True), "none"),
        ]
    return cases


def _counts(*shape: int, low: float = -1) -> Arguments:
    def arguments(draw: Inputs) -> Tensors:
        rate = draw.uniform(*shape, low=low, high=2)
        count = draw.uniform(*shape, low=0.1, high=0.9)
        return {"input": rate, "target": count + 1.5 * (rate > 1)}  # off 1: Stirling's step

    return arguments


def _integer_counts(draw: Inputs) -> Tensors:
    counts = torch.tensor([0, 1, 2, 7, 0, 3], device=draw.device)
    return {"input": draw.normal(6), "target": counts}


def _no_count(draw: Inputs) -> Tensors:
    return {"input": draw.values(0, 1e-3, 2, 0), "target": draw.values(0, 0, 0, 1)}


def _poisson(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("poisson_nll_loss", name, why, arguments, options, smooth)


def _normal(shape: tuple[int, ...], var: tuple[int, ...], low: float = 0.3) -> Arguments:
    return lambda draw: {
        "input": draw.normal(*shape),
        "target": draw.normal(*shape),
        "var": draw.uniform(*var, low=low, high=2),
    }


def _no_variance(draw: Inputs) -> Tensors:
    return {
        "input": draw.values(1, 2, 3),
        "target": draw.values(1, 2.5, 0),
        "var": draw.values(0, 1e-3, 0.05),
    }


def _gaussian(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("gaussian_nll_loss", name, why, arguments, options, smooth)


OPS = [
    *_errors("mse_loss"),
    *_errors("l1_loss"),
    *_errors("huber_loss"),
    *_errors("huber_loss", delta=0.5),
    *_errors("smooth_l1_loss", has_weight=False),
    *_errors("smooth_l1_loss", has_weight=False, beta=0.5),
    *_errors("smooth_l1_loss", has_weight=False, beta=0),
    _poisson("mean", "the usual call: logarithms of rates", _counts(4, 5)),
    _poisson("sum", "no division", _counts(4, 5), reduction="sum"),
    _poisson("none", "a gradient per element", _counts(2, 3, 2, 2), reduction="none"),
    _poisson("rates", "the logarithm is ours", _counts(4, 5, low=0.2), log_input=False, eps=0.1),
    _poisson("full", "Stirling's term, above 1 alone", _counts(4, 5), full=True),
    _poisson(
        "full, rates, none",
        "the two terms of t'",
        _counts(4, 5, low=0.2),
        full=True,
        log_input=False,
        reduction="none",
    ),
    _poisson("integers", "counts are whole numbers", _integer_counts),
    _poisson("no count", "rates of 0", _no_count, smooth=False, log_input=False, reduction="sum"),
    OpCase(
        "poisson_nll_loss",
        "no count, full",
        "no Stirling at 0, where torch's t' is NaN",
        _no_count,
        {"log_input": False, "full": True, "reduction": "none"},
        smooth=False,
        constants=("target",),
    ),
    _poisson("empty", "the mean of nothing is NaN", _counts(0, 3), smooth=False),
    _gaussian("mean", "a variance for each element", _normal((4, 5), (4, 5))),
    _gaussian("sum", "no division", _normal((4, 5), (4, 5)), reduction="sum"),
    _gaussian("none", "a loss for each", _normal((2, 3, 2, 2), (2, 3, 2, 2)), reduction="none"),
    _gaussian("full", "a constant is added", _normal((4, 5), (4, 5)), full=True),
    _gaussian("one per sample", "var lacks the last axis", _normal((4, 5), (4,))),
    _gaussian("one per row", "size 1 in the last axis", _normal((4, 5), (4, 1))),
    _gaussian(
        "one per column", "size 1 in another axis", _normal((4, 5), (1, 5)), reduction="none"
    ),
    _gaussian("one sample", "no axis of size 1 is differing", _normal((1, 1), (1, 1))),
    _gaussian("eps", "a clamped variance passes its gradient", _no_variance, smooth=False, eps=0.1),
    _gaussian("no variance", "d^2 / eps", _no_variance, smooth=False, reduction="none"),
    _gaussian("empty", "the mean of nothing is NaN", _normal((0, 3), (0, 3)), smooth=False),
    OpCase(
        "gaussian_nll_loss",
        "a number",
        "the same variance for all, not a tensor",
        _prediction(4, 5),
        {"var": 0.7},
    ),
]


def _with_weight(module: str) -> list[ModuleCase]:
    return [
        ModuleCase(module, "defaults", {}, _prediction(4, 5)),
        ModuleCase(module, "the option reaches it", {"reduction": "sum"}, _prediction(4, 5)),
        ModuleCase(module, "none", {"reduction": "none"}, _prediction(4, 5)),
    ]


MODULES = [
    *_with_weight("MSELoss"),
    *_with_weight("L1Loss"),
    *_with_weight("HuberLoss"),
    *_with_weight("SmoothL1Loss"),
    ModuleCase("HuberLoss", "delta", {"delta": 0.5, "reduction": "sum"}, _prediction(4, 5)),
    ModuleCase("SmoothL1Loss", "beta", {"beta": 0.5, "reduction": "sum"}, _prediction(4, 5)),
    ModuleCase("SmoothL1Loss", "no beta", {"beta": 0.0}, _prediction(4, 5)),
    ModuleCase("PoissonNLLLoss", "defaults", {}, _counts(4, 5)),
    ModuleCase(
        "PoissonNLLLoss",
        "every option reaches the function",
        {"log_input": False, "full": True, "eps": 0.1, "reduction": "sum"},
        _counts(4, 5, low=0.2),
    ),
    ModuleCase("GaussianNLLLoss", "defaults", {}, _normal((4, 5), (4, 5))),
    ModuleCase(
        "GaussianNLLLoss",
        "every option reaches the function",
        {"full": True, "eps": 0.5, "reduction": "sum"},
        _normal((4, 5), (4, 1), low=0.6),
    ),
]

DEPRECATED = "torch deprecated it, reduction says the same"
REFUSED = [
    Refusal("MSELoss", {"size_average": True}, "size_average", DEPRECATED),
    Refusal("L1Loss", {"reduce": True}, "reduce", DEPRECATED),
    Refusal("SmoothL1Loss", {"size_average": False}, "size_average", DEPRECATED),
    Refusal("PoissonNLLLoss", {"reduce": False}, "reduce", DEPRECATED),
]
