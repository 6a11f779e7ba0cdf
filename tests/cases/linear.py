"""Cases of the affine map."""

from collections.abc import Callable

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase


def _linear(*leading: int, bias: bool = True) -> Callable[[Inputs], Tensors]:
    def arguments(draw: Inputs) -> Tensors:
        tensors = {"input": draw.normal(*leading, 5), "weight": draw.normal(3, 5)}
        return tensors | ({"bias": draw.normal(3)} if bias else {})

    return arguments


def _transposed_linear(draw: Inputs) -> Tensors:
    return {"input": draw.normal(5, 4).t(), "weight": draw.normal(5, 3).t(), "bias": draw.normal(3)}


def _expanded_linear(draw: Inputs) -> Tensors:
    return {"input": draw.normal(1, 5).expand(4, 5), "weight": draw.normal(3, 5)}


OPS = [
    OpCase("linear", "matrix", "the usual shape", _linear(4)),
    OpCase("linear", "no bias", "b' is skipped", _linear(4, bias=False)),
    OpCase("linear", "one sample", "a size-1 axis may be summed away", _linear(1)),
    OpCase("linear", "unbatched", "no batch axis: y is a vector", _linear()),
    OpCase("linear", "sequence", "leading axes are flattened and restored", _linear(2, 3)),
    OpCase("linear", "empty", "an empty batch gives zero gradients", _linear(0)),
    OpCase("linear", "transposed", "strides other than contiguous", _transposed_linear),
    OpCase("linear", "expanded", "an input whose rows share memory", _expanded_linear),
]

MODULES = [
    ModuleCase(
        "Linear",
        "weight and bias",
        {"in_features": 5, "out_features": 3},
        lambda draw: {"input": draw.normal(4, 5)},
    ),
    ModuleCase(
        "Linear",
        "no bias in the state_dict",
        {"in_features": 5, "out_features": 3, "bias": False},
        lambda draw: {"input": draw.normal(2, 4, 5)},
    ),
]
