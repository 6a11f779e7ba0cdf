"""Cases of the fused operations: those of their first part, against the parts one by one."""

from dataclasses import replace
from math import nan
from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from cases import convolution, linear, pooling
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


def _signed(case: OpCase) -> OpCase:
    """Return a case of distinct values of both signs: no tie, and the largest may be below 0."""

    def arguments(draw: Inputs) -> Tensors:
        drawn = case.arguments(draw)
        return {"input": drawn["input"] + 0.03}  # distinct values lie around 0, one of them at it

    return replace(case, op="relu_max_pool2d", reference=relu_max_pool2d, arguments=arguments)


def _wide(draw: Inputs) -> Tensors:
    return {"input": draw.distinct(1, 1, 3, 300)}


def _with_nan(draw: Inputs) -> Tensors:
    x = draw.normal(4, 5)
    x[1, 2] = nan
    return {"input": x, "weight": draw.normal(3, 5)}


CASES = [
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
    OpCase(
        "relu_max_pool2d",
        "wide",
        "a window whose last position is more than a byte away from its first",
        _wide,
        {"kernel_size": 2, "stride": 1},
        reference=relu_max_pool2d,
    ),
]
