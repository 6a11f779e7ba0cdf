"""Cases of the losses whose target is a class, or a probability."""

from collections.abc import Callable
from math import inf
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

Arguments = Callable[[Inputs], Tensors]
CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.1, 1.5], dtype=torch.float64)


def _logits(
    *shape: int, scale: float = 1.0, ignored: int | None = None, weights: bool = False
) -> Arguments:
    def arguments(draw: Inputs) -> Tensors:
        classes = shape[0] if len(shape) == 1 else shape[1]
        target_shape = () if len(shape) == 1 else (shape[0], *shape[2:])
        tensors = {
            "input": draw.normal(*shape, scale=scale),
            "target": draw.classes(*target_shape, classes=classes, ignored=ignored),
        }
        return tensors | ({"weight": draw.uniform(classes, low=0.1, high=2)} if weights else {})

    return arguments


def _of_tokens(draw: Inputs) -> Tensors:
    """Draw logits [N, K, T] that lie in memory as [N, T, K], as a linear layer leaves them."""
    drawn = _logits(2, 5, 3, ignored=-100)(draw)
    in_memory = drawn["input"].transpose(1, 2).contiguous()
    return drawn | {"input": in_memory.transpose(1, 2)}


def _all_ignored(draw: Inputs) -> Tensors:
    return {"input": draw.normal(4, 5), "target": torch.full((4,), -100, device=draw.device)}


def _far_apart(draw: Inputs) -> Tensors:
    rows = draw.values(1e4, -1e4, 0, -1e4, 1e4, 1e4).view(2, 3)
    return {"input": rows, "target": torch.tensor([1, 2], device=draw.device)}


def _minus_infinity(draw: Inputs) -> Tensors:
    rows = draw.values(-inf, 0, 1, 2, -inf, 1).view(2, 3)
    return {"input": rows, "target": torch.tensor([-100, 2], device=draw.device)}


def _probabilities(*shape: int, weights: bool = False) -> Arguments:
    def arguments(draw: Inputs) -> Tensors:
        tensors = {"input": draw.normal(*shape), "target": draw.uniform(*shape, low=0.05)}
        classes = shape[min(1, len(shape) - 1)]
        return tensors | ({"weight": draw.uniform(classes, low=0.1, high=2)} if weights else {})

    return arguments


def _cross_entropy(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("cross_entropy", name, why, arguments, options, smooth, constants=("weight",))


def _soft(name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any) -> OpCase:
    name = f"probabilities, {name}"
    return OpCase("cross_entropy", name, why, arguments, options, smooth)


def _nll(name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any) -> OpCase:
    return OpCase("nll_loss", name, why, arguments, options, smooth, constants=("weight",))


def _kl_as_it_is(input: torch.Tensor, target: torch.Tensor, log_target: bool) -> torch.Tensor:
    """Return torch's mean without its warning that it is not the mean over the batch."""
    return torch.kl_div(input, target, reduction=1, log_target=log_target)


def _log_prediction(*shape: int, log_target: bool = False) -> Arguments:
    def arguments(draw: Inputs) -> Tensors:
        target = draw.normal(*shape) if log_target else draw.uniform(*shape, low=0.05)
        return {"input": draw.normal(*shape), "target": target}

    return arguments


def _certain_target(draw: Inputs) -> Tensors:
    return {"input": draw.normal(4), "target": draw.values(0, 1, 0.5, 0)}


def _kl_div(
    name: str, why: str, arguments: Arguments, smooth: bool = True, **options: Any
) -> OpCase:
    return OpCase("kl_div", name, why, arguments, options, smooth)


OPS = [
    _cross_entropy("mean", "the usual call", _logits(4, 5)),
    _cross_entropy("sum", "no division by N", _logits(4, 5), reduction="sum"),
    _cross_entropy("none", "a gradient for each sample", _logits(4, 5), reduction="none"),
    _cross_entropy("smoothing", "c has K terms", _logits(4, 5), label_smoothing=0.2),
    _cross_entropy(
        "all smoothing",
        "the true class has no term: t only says what is ignored",
        _logits(4, 5, ignored=-100),
        label_smoothing=1.0,
    ),
    _cross_entropy(
        "all smoothing, weights",
        "t is read for the weights in A",
        _logits(4, 5, weights=True),
        label_smoothing=1.0,
    ),
    _cross_entropy(
        "all smoothing, weights, none",
        "weights without A",
        _logits(4, 5, weights=True, ignored=-100),
        label_smoothing=1.0,
        reduction="none",
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
    _cross_entropy("tokens", "classes last in memory", _of_tokens),
    _cross_entropy("tokens, smoothing", "each class's part too", _of_tokens, label_smoothing=0.2),
    _cross_entropy("unbatched", "one sample without a batch axis", _logits(5)),
    _cross_entropy("unbatched, none", "its loss is a scalar", _logits(5), reduction="none"),
    _cross_entropy("one class", "p = 1: loss and gradient are 0", _logits(4, 1)),
    _cross_entropy(
        "large logits", "e^x alone would overflow", _logits(4, 5, scale=1e3), smooth=False
    ),
    _cross_entropy("far apart", "p is 0 and 1 to the last digit", _far_apart, smooth=False),
    _cross_entropy("empty, sum", "an empty batch", _logits(0, 5), reduction="sum"),
    _cross_entropy("empty", "the mean of nothing is NaN", _logits(0, 5), smooth=False),
    _soft("mean", "A is N whatever the weights are", _probabilities(4, 5)),
    _soft("sum", "no division", _probabilities(4, 5), reduction="sum"),
    _soft("none", "a loss for each sample", _probabilities(4, 5), reduction="none"),
    _soft("weights", "the weights have a gradient here", _probabilities(4, 5, weights=True)),
    _soft(
        "smoothing, weights, none",
        "1 - e stands in t' and w'",
        _probabilities(4, 5, weights=True),
        reduction="none",
        label_smoothing=0.3,
    ),
    _soft("pixels", "K is axis 1", _probabilities(2, 3, 2, 2, weights=True), label_smoothing=0.1),
    _soft("unbatched", "one sample", _probabilities(5, weights=True)),
    _soft("unbatched, none", "its loss is a scalar", _probabilities(5), reduction="none"),
    _soft("empty", "the mean of nothing is NaN", _probabilities(0, 5), smooth=False),
    _nll("mean", "the usual call", _logits(4, 5)),
    _nll("sum", "no division", _logits(4, 5), reduction="sum"),
    _nll("none", "a gradient for each sample", _logits(4, 5), reduction="none"),
    _nll("weights", "the mean divides by A, not N", _logits(4, 5, weights=True)),
    _nll(
        "weights, ignored, sum",
        "an ignored sample has no weight",
        _logits(4, 5, weights=True, ignored=-100),
        reduction="sum",
    ),
    _nll("ignored", "A counts the others", _logits(4, 5, ignored=-100)),
    _nll(
        "ignored class",
        "ignore_index may be a real class",
        _logits(4, 5, ignored=2),
        ignore_index=2,
        reduction="none",
    ),
    _nll("all ignored", "0 / 0: the loss is NaN, the gradient 0", _all_ignored, smooth=False),
    _nll("minus infinity", "a class ruled out, and ignored", _minus_infinity, smooth=False),
    _nll("pixels", "trailing axes", _logits(2, 5, 3, weights=True, ignored=-100)),
    _nll("pixels, none", "a loss for each pixel", _logits(2, 3, 4), reduction="none"),
    _nll("volume", "three trailing axes", _logits(2, 3, 2, 1, 2, weights=True)),
    _nll("unbatched", "one sample without a batch axis", _logits(5, weights=True)),
    _nll("unbatched, none", "its loss is a scalar", _logits(5), reduction="none"),
    _nll("empty, sum", "an empty batch", _logits(0, 5), reduction="sum"),
    _nll("empty", "the mean of nothing is NaN", _logits(0, 5), smooth=False),
    OpCase(
        "kl_div",
        "mean",
        "the default, which divides by M",
        _log_prediction(4, 5),
        {"log_target": False},
        reference=_kl_as_it_is,
    ),
    _kl_div("batchmean", "divides by N", _log_prediction(4, 5), reduction="batchmean"),
    _kl_div("batchmean, scalar", "no axis to count", _log_prediction(), reduction="batchmean"),
    _kl_div("sum", "no division", _log_prediction(4, 5), reduction="sum"),
    _kl_div("none", "a gradient per element", _log_prediction(2, 3, 2, 2), reduction="none"),
    _kl_div(
        "logarithms",
        "the target's slope has two factors",
        _log_prediction(4, 5, log_target=True),
        log_target=True,
        reduction="batchmean",
    ),
    _kl_div(
        "logarithms, none",
        "a gradient per element",
        _log_prediction(6, log_target=True),
        log_target=True,
        reduction="none",
    ),
    OpCase(
        "kl_div",
        "certain target",
        "t log t is 0 at t = 0; torch's t' is NaN there",
        _certain_target,
        {"reduction": "sum"},
        smooth=False,
        constants=("target",),
    ),
    _kl_div("empty", "nothing", _log_prediction(0, 3), reduction="sum"),
    _kl_div("empty, batchmean", "NaN", _log_prediction(0, 3), smooth=False, reduction="batchmean"),
]

MODULES = [
    ModuleCase("CrossEntropyLoss", "defaults", {}, _logits(4, 5)),
    ModuleCase(
        "CrossEntropyLoss",
        "every option reaches the function",
        {
            "weight": CLASS_WEIGHTS,
            "ignore_index": 2,
            "reduction": "sum",
            "label_smoothing": 0.2,
        },
        _logits(4, 5, ignored=2),
    ),
    ModuleCase(
        "CrossEntropyLoss",
        "probabilities",
        {"weight": CLASS_WEIGHTS, "reduction": "none", "label_smoothing": 0.2},
        _probabilities(4, 5),
    ),
    ModuleCase("NLLLoss", "defaults", {}, _logits(4, 5)),
    ModuleCase(
        "NLLLoss",
        "every option reaches the function",
        {"weight": CLASS_WEIGHTS, "ignore_index": 2, "reduction": "sum"},
        _logits(4, 5, ignored=2),
    ),
    ModuleCase("KLDivLoss", "batchmean", {"reduction": "batchmean"}, _log_prediction(4, 5)),
    ModuleCase(
        "KLDivLoss",
        "every option reaches the function",
        {"reduction": "sum", "log_target": True},
        _log_prediction(4, 5, log_target=True),
    ),
]

DEPRECATED = "torch deprecated it, reduction says the same"
REFUSED = [
    Refusal("CrossEntropyLoss", {"reduce": False}, "reduce", DEPRECATED),
    Refusal("NLLLoss", {"size_average": True}, "size_average", DEPRECATED),
    Refusal("KLDivLoss", {"reduce": True}, "reduce", DEPRECATED),
]
