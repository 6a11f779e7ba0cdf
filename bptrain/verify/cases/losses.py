"""Cases of the losses."""

from collections.abc import Callable
from typing import Any

import torch

from bptrain.verify.case import Inputs, ModuleCase, OpCase, Refusal, Tensors


def _logits(
    *shape: int, scale: float = 1.0, ignored: int | None = None, weights: bool = False
) -> Callable[[Inputs], Tensors]:
    def arguments(draw: Inputs) -> Tensors:
        classes = shape[0] if len(shape) == 1 else shape[1]
        target_shape = () if len(shape) == 1 else (shape[0], *shape[2:])
        tensors = {
            "input": draw.normal(*shape, scale=scale),
            "target": draw.classes(*target_shape, classes=classes, ignored=ignored),
        }
        return tensors | ({"weight": draw.normal(classes).abs() + 0.1} if weights else {})

    return arguments


def _all_ignored(draw: Inputs) -> Tensors:
    return {"input": draw.normal(4, 5), "target": torch.full((4,), -100, device=draw.device)}


def _cross_entropy(
    name: str,
    why: str,
    arguments: Callable[[Inputs], Tensors],
    smooth: bool = True,
    **options: Any,
) -> OpCase:
    return OpCase("cross_entropy", name, why, arguments, options, smooth, constants=("weight",))


def _prediction(*shape: int) -> Callable[[Inputs], Tensors]:
    return lambda draw: {"input": draw.normal(*shape), "target": draw.normal(*shape)}


OPS = [
    _cross_entropy("mean", "the usual call", _logits(4, 5)),
    _cross_entropy("sum", "no division by N", _logits(4, 5), reduction="sum"),
    _cross_entropy("none", "a gradient for each sample", _logits(4, 5), reduction="none"),
    _cross_entropy("smoothing", "c has K terms", _logits(4, 5), label_smoothing=0.2),
    _cross_entropy(
        "all smoothing", "the true class has no term", _logits(4, 5), label_smoothing=1.0
    ),
    _cross_entropy("weights", "the mean divides by A, not N", _logits(4, 5, weights=True)),
    _cross_entropy(
        "weights and smoothing", "C is not 1", _logits(4, 5, weights=True), label_smoothing=0.3
    ),
    _cross_entropy(
        "weights, smoothing, sum",
        "C without the division",
        _logits(4, 5, weights=True, ignored=-100),
        label_smoothing=0.3,
        reduction="sum",
    ),
    _cross_entropy("ignored", "an ignored sample counts nowhere", _logits(4, 5, ignored=-100)),
    _cross_entropy(
        "ignored class",
        "ignore_index may be a real class; with smoothing",
        _logits(4, 5, ignored=2),
        ignore_index=2,
        label_smoothing=0.1,
        reduction="none",
    ),
    _cross_entropy(
        "all ignored", "0 / 0: the loss is NaN, the gradient 0", _all_ignored, smooth=False
    ),
    _cross_entropy("pixels", "trailing axes", _logits(2, 5, 3, 2, ignored=-100)),
    _cross_entropy(
        "pixels, weights, none",
        "class weights along axis 1",
        _logits(2, 5, 3, weights=True),
        reduction="none",
        label_smoothing=0.1,
    ),
    _cross_entropy("unbatched", "one sample without a batch axis", _logits(5)),
    _cross_entropy("unbatched, none", "its loss is a scalar", _logits(5), reduction="none"),
    _cross_entropy("one class", "p = 1: loss and gradient are 0", _logits(4, 1)),
    _cross_entropy(
        "large logits", "e^x alone would overflow", _logits(4, 5, scale=1e3), smooth=False
    ),
    _cross_entropy("empty, sum", "an empty batch", _logits(0, 5), reduction="sum"),
    OpCase("mse_loss", "mean", "the usual call", _prediction(4, 5)),
    OpCase("mse_loss", "sum", "no division", _prediction(4, 5), {"reduction": "sum"}),
    OpCase("mse_loss", "none", "a gradient per element", _prediction(4, 5), {"reduction": "none"}),
    OpCase("mse_loss", "vector", "one axis", _prediction(6)),
    OpCase("mse_loss", "scalar", "no axis", _prediction()),
    OpCase("mse_loss", "empty, sum", "an empty batch", _prediction(0, 3), {"reduction": "sum"}),
]

MODULES = [
    ModuleCase("CrossEntropyLoss", "defaults", {}, _logits(4, 5)),
    ModuleCase(
        "CrossEntropyLoss",
        "every option reaches the function",
        {
            "weight": torch.tensor([0.5, 1.0, 2.0, 0.1, 1.5], dtype=torch.float64),
            "ignore_index": 2,
            "reduction": "sum",
            "label_smoothing": 0.2,
        },
        _logits(4, 5, ignored=2),
    ),
    ModuleCase("MSELoss", "defaults", {}, _prediction(4, 5)),
    ModuleCase("MSELoss", "the option reaches it", {"reduction": "sum"}, _prediction(4, 5)),
]

DEPRECATED = "torch deprecated it, reduction says the same"
REFUSED = [
    Refusal("MSELoss", {"size_average": True}, "size_average", DEPRECATED),
    Refusal("CrossEntropyLoss", {"reduce": False}, "reduce", DEPRECATED),
]
