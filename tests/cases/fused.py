"""Cases of the fused operations: those of their first part, against the parts one by one."""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from cases import batch_norms, convolution, linear, pooling
from cases.batch_norms import OVER_PROCESSES
from cases.case import Inputs, OpCase

functional = torch.nn.functional


def linear_relu(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return relu(linear(...))."""
    return functional.linear(input, weight, bias).relu()


def conv2d_relu(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any
) -> Tensor:
    """Return relu(conv2d(...))."""
    return functional.conv2d(input, weight, bias, **options).relu()


def relu_max_pool2d(input: Tensor, **options: Any) -> Tensor:
    """Return max_pool2d(relu(...))."""
    return functional.max_pool2d(input.relu(), **options)


def relu_dropout(input: Tensor, p: float = 0.5) -> Tensor:
    """Return dropout(relu(...))."""
    return functional.dropout(input.relu(), p, training=True)


def _rectified(name: str, why: str, *shape: int, **options: Any) -> OpCase:
    def arguments(draw: Inputs) -> Tensors:
        return {"input": draw.normal(*shape)}

    return OpCase(
        "relu_dropout", name, why, arguments, options, random=True, reference=relu_dropout
    )


def _signed(case: OpCase) -> OpCase:
    """Return a case of distinct values of both signs: no tie, and the largest may be below 0."""

    def arguments(draw: Inputs) -> Tensors:
        drawn = case.arguments(draw)
        return {"input": drawn["input"] + 0.03}  # distinct values lie around 0, one of them at it

    return replace(case, op="relu_max_pool2d", reference=relu_max_pool2d, arguments=arguments)


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    residual: Tensor | None = None,
    **others: Any,
) -> Tensor:
    """Return relu(batch_norm(...) + residual)."""
    a = functional.batch_norm(input, running_mean, running_var, training=True, **others)
    return (a if residual is None else a + residual).relu()


def _residual(case: OpCase) -> Callable[[Inputs], Tensors]:
    """Draw the same and a residual."""

    def arguments(draw: Inputs) -> Tensors:
        tensors = case.arguments(draw)
        return tensors | {"residual": draw.normal(*tensors["input"].shape)}

    return arguments


def _normalized(case: OpCase, **changes: Any) -> OpCase:
    options = {k: v for k, v in case.options.items() if k != "training"}
    return replace(
        case, op="batch_norm_relu", reference=batch_norm_relu, options=options, **changes
    )


def _images(*shape: int) -> Callable[[Inputs], Tensors]:
    return lambda draw: {"input": draw.distinct(*shape) + 0.05}  # off the kink at 0


def _channels_last(draw: Inputs) -> Tensors:
    drawn = _images(*MANY)(draw)["input"]
    return {"input": drawn.contiguous(memory_format=torch.channels_last)}


def _pooled(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return OpCase("relu_max_pool2d", name, why, arguments, options, reference=relu_max_pool2d)


MANY = (2, 9, 5, 4)  # so many channels that the kernel copies to the other layout
POOLED = [
    _pooled("many channels", "copied to the other layout", _images(*MANY), kernel_size=2),
    _pooled(
        "many channels, padded",
        "windows overlap and begin before the plane",
        _images(*MANY),
        kernel_size=3,
        stride=1,
        padding=1,
    ),
    _pooled("channels last", "the gradient has this layout too", _channels_last, kernel_size=2),
]
# An expanded input is the same in the whole batch: what is normalized is 0, the rectifier's kink
# unless a bias moves it.
TRAINED = [
    case
    for case in batch_norms.OPS
    if case.op == "batch_norm" and case.options.get("training") and case not in OVER_PROCESSES
]
NORMALIZED = [
    *(
        _normalized(case, smooth=False)
        for case in TRAINED
        if case.name not in ("no parameters", "no bias")
    ),
    *(
        _normalized(
            case,
            name=f"{case.name}, residual",
            why="added before the rectifier, and has a gradient",
            arguments=_residual(case),
            smooth=case is TRAINED[0],
        )
        for case in TRAINED[:4]
    ),
]


def _wide(draw: Inputs) -> Tensors:
    return {"input": draw.distinct(1, 1, 3, 300)}


def _with_nan(draw: Inputs) -> Tensors:
    x = draw.normal(4, 5)
    x[1, 2] = nan
    return {"input": x, "weight": draw.normal(3, 5)}


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Return cross_entropy(linear(...)); torch's own of this name is not in every torch."""
    logits = functional.linear(input, linear_weight, linear_bias).flatten(0, -2)
    return functional.cross_entropy(logits, target.flatten(), **options)


def _many_classes(
    *leading: int, bias: bool = True, ignored: int | None = None, weights: bool = False
) -> Callable[[Inputs], Tensors]:
    def arguments(draw: Inputs) -> Tensors:
        tensors = {"input": draw.normal(*leading, 3), "linear_weight": draw.normal(5, 3)}
        tensors["target"] = draw.classes(*leading, classes=5, ignored=ignored)
        tensors |= {"linear_bias": draw.normal(5)} if bias else {}
        return tensors | ({"weight": draw.uniform(5, low=0.1, high=2)} if weights else {})

    return arguments


def _head(name: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any) -> OpCase:
    return OpCase(
        "linear_cross_entropy",
        name,
        why,
        arguments,
        options,
        constants=("weight",),
        reference=linear_cross_entropy,
    )


HEADS = [
    _head("mean", "the usual call", _many_classes(4)),
    _head("no bias", "b' is skipped", _many_classes(4, bias=False)),
    _head("sum", "no division by A", _many_classes(4), reduction="sum"),
    _head("sequence", "leading axes are flattened and restored", _many_classes(2, 3)),
    _head("ignored", "an ignored sample counts nowhere", _many_classes(4, ignored=-100)),
    _head("smoothing", "c has K terms", _many_classes(4), label_smoothing=0.2),
    _head("weights", "the mean divides by A, not N", _many_classes(4, weights=True)),
    _head(
        "everything",
        "C is neither 1 nor A / N",
        _many_classes(2, 3, ignored=2, weights=True),
        label_smoothing=0.3,
        ignore_index=2,
    ),
    _head("all smoothing", "the true class has no term", _many_classes(4), label_smoothing=1.0),
    _head("one sample", "a size-1 axis may be summed away", _many_classes(1)),
    _head("empty", "no samples: the sum is 0", _many_classes(0), reduction="sum"),
]

CASES = [
    *HEADS,
    *NORMALIZED,
    *POOLED,
    *(
        replace(case, op="linear_relu", reference=linear_relu)
        for case in linear.OPS
        if case.op == "linear"
    ),
    OpCase(
        "linear_relu",
        "NaN",
        "it stays NaN, and is seen in the gradient",
        _with_nan,
        smooth=False,
        reference=linear_relu,
    ),
    *(
        replace(case, op="conv2d_relu", reference=conv2d_relu)
        for case in convolution.OPS
        if case.op == "conv2d"
    ),
    *(
        _signed(case)
        for case in pooling.OPS
        if case.op == "max_pool2d" and "return_indices" not in case.options
    ),
    _rectified("half", "the usual call", 4, 5),
    _rectified("few", "s is not 2", 4, 5, p=0.2),
    _rectified("planes", "channels_last: the mask follows the memory", 2, 3, 2, 2),
    _rectified("empty", "an empty batch", 0, 5),
    OpCase(
        "relu_max_pool2d",
        "wide",
        "a window whose last position is more than a byte away from its first",
        _wide,
        {"kernel_size": 2, "stride": 1},
        reference=relu_max_pool2d,
    ),
]
