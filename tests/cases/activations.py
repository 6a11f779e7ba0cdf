"""Cases of the element-wise activations, and of GLU, the gate of two halves."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase, Refusal

Draw = Callable[[Inputs], Tensors]
EXTREMES = (-1e4, -100.0, -20.0, -5.0, 0.5, 5.0, 20.0, 100.0, 1e4)


def _elements(*shape: int, kinks: tuple[float, ...] = (0.0,), scale: float = 1.0) -> Draw:
    return lambda draw: {"input": draw.off(kinks, *shape, scale=scale)}


def _values(*values: float) -> Draw:
    return lambda draw: {"input": draw.values(*values)}


def _activation(
    op: str,
    *,
    kinks: tuple[float, ...] = (0.0,),
    scale: float = 1.0,
    scalar: float = 0.7,
) -> list[OpCase]:
    """Return the cases that every element-wise activation has.

    scale   of the inputs, so that they fall on both sides of each kink
    scalar  a value whose gradient shows what is saved
    """

    def of(*shape: int) -> Draw:
        return _elements(*shape, kinks=kinks, scale=scale)

    def no_axis(draw: Inputs) -> Tensors:
        return {"input": draw.values(scalar).view(())}

    return [
        OpCase(op, "matrix", "the usual shape", of(4, 5)),
        OpCase(op, "images", "four axes, in either memory format", of(2, 3, 2, 2)),
        OpCase(op, "transposed", "strides other than contiguous", _transposed(of(5, 4))),
        OpCase(op, "scalar", "no axis at all", no_axis),
        OpCase(op, "size-1 axes", "strides of no meaning", of(1, 4, 1)),
        OpCase(op, "empty", "an empty batch must not fail", of(0, 5)),
        OpCase(op, "saturated", "0 or 1 or x, not NaN", _values(*EXTREMES), smooth=False),
        OpCase(
            op, "not finite", "NaN must reach the monitor", _values(nan, inf, -inf, 1), smooth=False
        ),
    ]


def _transposed(arguments: Draw) -> Draw:
    return lambda draw: {"input": arguments(draw)["input"].t()}


def _options(op: str, why: str, kinks: tuple[float, ...] = (0.0,), **options: Any) -> OpCase:
    """Return a case of other options, with inputs on both sides of the kinks."""
    name = ", ".join(f"{key} {value}" for key, value in options.items())
    return OpCase(op, name, why, _elements(4, 5, kinks=kinks), options)


def _at(op: str, why: str, *values: float, **options: Any) -> OpCase:
    """Return a case at given values, where our choice of a subgradient must be torch's."""
    return OpCase(op, f"at {values} {options or ''}", why, _values(*values), options, smooth=False)


def _learned_slope(
    *shape: int, weights: tuple[int, ...] = (1,), shift: float = 0.0, scale: float = 1.0
) -> Draw:
    return lambda draw: {
        "input": draw.off((0.0,), *shape),
        "weight": draw.normal(*weights, scale=scale) + shift,
    }


def _slope_at(*values: float) -> Draw:
    return lambda draw: {"input": draw.values(*values), "weight": draw.values(0.25)}


def _prelu(
    name: str, why: str, arguments: Draw, smooth: bool = True, constants: tuple[str, ...] = ()
) -> OpCase:
    return OpCase("prelu", name, why, arguments, smooth=smooth, constants=constants)


def _frozen(constant: str) -> list[OpCase]:
    """Return cases in which one of the two gradients is not needed: only the other is computed."""
    why = f"the other gradient without that of {constant}"
    one, channels = _learned_slope(4, 5, shift=-2.0), _learned_slope(2, 3, 2, 2, weights=(3,))
    return [
        _prelu(f"constant {constant}", why, one, constants=(constant,)),
        _prelu(f"constant {constant}, channels", why, channels, constants=(constant,)),
        _prelu(
            f"constant {constant}, at the kink",
            SLOPES,
            _slope_at(-1.0, 0.0, 1.0),
            smooth=False,
            constants=(constant,),
        ),
    ]


def _glu(name: str, why: str, arguments: Draw, smooth: bool = True, **options: Any) -> OpCase:
    return OpCase("glu", name, why, arguments, options, smooth)


SLOPES = "neither slope is taken at a kink by chance"

OPS = [
    *_activation("relu"),
    *_activation("tanh"),
    *_activation("sigmoid"),
    *_activation("leaky_relu"),
    _options("leaky_relu", "y > 0 gives the sign of x", negative_slope=0.3),
    _options("leaky_relu", "it is ReLU, and y = 0 gives the sign", negative_slope=0.0),
    _options("leaky_relu", "y > 0 on both sides: x must be saved", negative_slope=-0.5),
    _options("leaky_relu", "y > 0 gives the sign; the negative slope is larger", negative_slope=2),
    _at("leaky_relu", SLOPES, -1, 0, 1, negative_slope=0.3),
    *_activation("elu", scalar=-0.7),
    _options("elu", "the constant of the slope is alpha", alpha=0.5),
    _options("elu", "y = 0 on one side: it is ReLU", alpha=0.0),
    _options("elu", "y > 0 on both sides: x must be saved", alpha=-1.5),
    _options("elu", "an int where torch takes one", alpha=2),
    _at("elu", SLOPES, -1, 0, 1, alpha=0.5),
    *_activation("selu", scalar=-0.7),
    _at("selu", SLOPES, -1, 0, 1),
    *_activation("celu", scalar=-0.7),
    _options("celu", "the exponential is stretched", alpha=2.0),
    _options("celu", "the exponential is squeezed", alpha=0.25),
    _options("celu", "an exponential that grows: x must be saved", alpha=-0.5),
    _at("celu", SLOPES, -1, 0, 1, alpha=0.5),
    *_activation("gelu"),
    _options("gelu", "the other formula", approximate="tanh"),
    _at("gelu", "its tanh saturates", *EXTREMES, approximate="tanh"),
    _at("gelu", "NaN through the tanh", nan, inf, -inf, 1.0, approximate="tanh"),
    *_activation("silu"),
    *_activation("mish"),
    *_activation("softplus"),
    _options("softplus", "a sharper corner", beta=3.0),
    _options("softplus", "a corner turned upside down", beta=-0.5),
    _options("softplus", "a leap at beta x = 1", kinks=(0.5,), beta=2.0, threshold=1.0),
    _options("softplus", "every element beyond the threshold", beta=2, threshold=-50),
    _at("softplus", "around the threshold", 19.999, 20, 20.001),
    *_activation("softsign"),
    *_activation("hardtanh", kinks=(-1.0, 1.0), scale=1.5, scalar=2.0),
    _options("hardtanh", "two bounds of their own", (-0.5, 0.75), min_val=-0.5, max_val=0.75),
    _options("hardtanh", "bounds no 16-bit dtype holds", (-0.7, 0.7), min_val=-0.7, max_val=0.7),
    _options("hardtanh", "large bounds no bf16 holds", (0.5,), min_val=-257, max_val=0.5),
    _options("hardtanh", "bounded on one side", (0.5,), min_val=0.5, max_val=inf),
    _options("hardtanh", "nothing between the bounds", (0.25,), min_val=0.25, max_val=0.25),
    _at("hardtanh", SLOPES, -1, 0, 1),
    _at("hardtanh", "clamped to a rounded bound", -5, 0.5, 5, min_val=-0.7, max_val=0.7),
    *_activation("relu6", kinks=(0.0, 6.0), scale=5.0),
    _at("relu6", SLOPES, 0, 3, 6),
    *_activation("hardsigmoid", kinks=(-3.0, 3.0), scale=3.0),
    _at("hardsigmoid", SLOPES, -3, 0, 3),
    *_activation("hardswish", kinks=(-3.0, 3.0), scale=3.0),
    _at("hardswish", SLOPES, -3, 0, 3),
    *_activation("logsigmoid"),
    _at("logsigmoid", "1 - e^y would be 0 here, the slope is not", 25, 30, 35),
    _at("logsigmoid", "the slope becomes 1, but not too soon", -20.5, -25, -39, -40, -41),
    _prelu("one weight", "shared by all: w' sums over the channels too", _learned_slope(4, 5)),
    _prelu("channels", "w' sums over the batch", _learned_slope(4, 5, weights=(5,))),
    _prelu("images", "w' sums over trailing axes", _learned_slope(2, 3, 2, 2, weights=(3,))),
    _prelu("images, one weight", "both memory formats", _learned_slope(2, 3, 2, 2)),
    _prelu("sequence", "three axes", _learned_slope(2, 3, 4, weights=(3,))),
    _prelu("one channel", "its axis may not vanish", _learned_slope(4, 1, 3)),
    _prelu("vector", "an axis that is no channel", _learned_slope(6)),
    _prelu(
        "scalar",
        "no axis at all",
        lambda draw: {"input": draw.values(-0.7).view(()), "weight": draw.values(0.25)},
    ),
    _prelu("scalar weight", "w' has no axis either", _learned_slope(4, 5, weights=())),
    _prelu("empty", "w' is 0", _learned_slope(0, 5, weights=(5,))),
    _prelu("no channels", "neither x nor w has an element", _learned_slope(4, 0, weights=(0,))),
    _prelu("negative", "y > 0 on both sides", _learned_slope(4, 5, shift=-2.0)),
    _prelu("large", "a slope larger than 1", _learned_slope(4, 5, weights=(5,), shift=3.0)),
    _prelu("at the kink", SLOPES, _slope_at(-1.0, 0.0, 1.0), smooth=False),
    _prelu("saturated", "no bound", _slope_at(*EXTREMES), smooth=False),
    _prelu("not finite", "NaN must reach w'", _slope_at(nan, 1.0, -1.0), smooth=False),
    _prelu(
        "infinite", "an inf above 0 adds nothing to w'", _slope_at(inf, 1.0, -1.0), smooth=False
    ),
    *_frozen("input"),
    *_frozen("weight"),
    _glu("matrix", "the usual shape", _elements(4, 6)),
    _glu("first axis", "halves of rows", _elements(4, 3), dim=0),
    _glu("images", "halves of channels, in either memory format", _elements(2, 4, 2, 2), dim=1),
    _glu("middle", "a negative dim", _elements(2, 4, 3), dim=-2),
    _glu("vector", "one axis", _elements(6)),
    _glu("pair", "one element and its gate", _elements(4, 2)),
    _glu("transposed", "halves far apart in memory", _transposed(_elements(6, 4))),
    _glu("empty", "an empty batch", _elements(0, 6)),
    _glu("saturated", "gates wide open and shut", _values(1, 2, 3, -100, 0, 100), smooth=False),
    _glu("not finite", "a NaN, and a shut gate", _values(nan, 2, inf, 0, -inf, inf), smooth=False),
]

ONE_INPUT = _elements(4, 5)
MODULES = [
    *[
        ModuleCase(name, "no parameter", {}, _elements(4, 5, kinks=(-3, -1, 0, 1, 3, 6), scale=3))
        for name in (
            *("ReLU", "Tanh", "Sigmoid", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU"),
            *("Mish", "Softplus", "Softsign", "Hardtanh", "ReLU6", "Hardsigmoid", "Hardswish"),
            *("LogSigmoid",),
        )
    ],
    ModuleCase("Tanh", "images", {}, _elements(2, 3, 2, 2)),
    ModuleCase("GELU", "evaluation is the same", {}, ONE_INPUT, training=False),
    ModuleCase("LeakyReLU", "a larger slope", {"negative_slope": 0.3}, ONE_INPUT),
    ModuleCase("LeakyReLU", "a negative slope", {"negative_slope": -0.3}, ONE_INPUT),
    ModuleCase("ELU", "another alpha", {"alpha": 0.5}, ONE_INPUT),
    ModuleCase("ELU", "a negative alpha", {"alpha": -0.5}, ONE_INPUT),
    ModuleCase("CELU", "another alpha", {"alpha": 0.5}, ONE_INPUT),
    ModuleCase("CELU", "a negative alpha", {"alpha": -0.5}, ONE_INPUT),
    ModuleCase("GELU", "the other formula", {"approximate": "tanh"}, ONE_INPUT),
    ModuleCase(
        "Softplus",
        "both options reach it",
        {"beta": 2.0, "threshold": 1.0},
        _elements(4, 5, kinks=(0.5,)),
    ),
    ModuleCase(
        "Hardtanh",
        "both bounds reach it",
        {"min_val": -0.5, "max_val": 0.7},
        _elements(4, 5, kinks=(-0.5, 0.7)),
    ),
    ModuleCase("PReLU", "one weight", {}, ONE_INPUT),
    ModuleCase("PReLU", "one weight, evaluation", {}, _elements(6), training=False),
    ModuleCase(
        "PReLU",
        "a weight for each channel",
        {"num_parameters": 3, "init": 0.5},
        _elements(2, 3, 2, 2),
    ),
    ModuleCase(
        "PReLU",
        "where and in which dtype its weight is made",
        {"num_parameters": 5, "device": "cpu", "dtype": torch.float64},
        ONE_INPUT,
    ),
    ModuleCase("GLU", "the last axis", {}, _elements(4, 6)),
    ModuleCase("GLU", "channels", {"dim": 1}, _elements(2, 4, 2, 2)),
]

DEPRECATED = "torch deprecated it, min_val and max_val say the same"
REFUSED = [
    Refusal("Hardtanh", {"min_value": -2.0}, "min_value", DEPRECATED),
    Refusal("Hardtanh", {"max_value": 2.0}, "max_value", DEPRECATED),
]
