"""Cases of the bilinear map."""

from collections.abc import Callable
from math import nan

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal, in_order


def _bilinear(
    *leading: int, sizes: tuple[int, int, int] = (3, 4, 5), bias: bool = True
) -> Callable[[Inputs], Tensors]:
    """Draw input [..., I], input2 [..., J], weight [O, I, J] and bias for the sizes O, I, J."""
    outputs, first, second = sizes

    def arguments(draw: Inputs) -> Tensors:
        tensors = _pair(*leading, sizes=(first, second))(draw)
        tensors["weight"] = draw.normal(outputs, first, second)
        return tensors | ({"bias": draw.normal(outputs)} if bias else {})

    return arguments


def _pair(*leading: int, sizes: tuple[int, int] = (4, 5)) -> Callable[[Inputs], Tensors]:
    return lambda draw: {
        "input": draw.normal(*leading, sizes[0]),
        "input2": draw.normal(*leading, sizes[1]),
    }


def _not_finite(draw: Inputs) -> Tensors:
    tensors = _bilinear(2)(draw)
    tensors["input2"][0, 1] = nan
    return tensors


def _case(name: str, why: str, arguments: Callable[[Inputs], Tensors]) -> OpCase:
    return OpCase("bilinear", name, why, arguments, call=in_order)


OPS = [
    _case("rows", "the usual shape", _bilinear(3)),
    _case("no bias", "b' is skipped", _bilinear(3, bias=False)),
    _case("one sample", "a size-1 axis may be summed away", _bilinear(1)),
    _case("unbatched", "two vectors: y is a vector", _bilinear()),
    _case("sequence", "leading axes are flattened and restored", _bilinear(2, 3, sizes=(2, 3, 4))),
    _case("one output", "a quadratic form", _bilinear(4, sizes=(1, 3, 2))),
    _case("one feature each", "a product of two numbers", _bilinear(4, sizes=(2, 1, 1))),
    _case("empty", "an empty batch gives zero gradients", _bilinear(0)),
    OpCase("bilinear", "not finite", "NaN must reach the monitor", _not_finite, smooth=False,
           call=in_order),
]  # fmt: skip

MODULES = [
    ModuleCase(
        "Bilinear",
        "weight and bias",
        {"in1_features": 4, "in2_features": 5, "out_features": 3},
        _pair(3),
    ),
    ModuleCase(
        "Bilinear",
        "no bias in the state_dict",
        {"in1_features": 4, "in2_features": 5, "out_features": 2, "bias": False},
        _pair(2, 2),
    ),
]

REFUSED: list[Refusal] = []
