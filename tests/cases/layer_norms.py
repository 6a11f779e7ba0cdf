"""Cases of the normalizations of one sample: over its elements, groups or neighboring channels."""

from collections.abc import Callable
from math import inf, nan
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import NARROW, Inputs, ModuleCase, OpCase

POOLED = (torch.float32,)  # from 4 axes on torch pools, which it cannot in 16 bits on the CPU
BOTH = ("weight", "bias")


def _input(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Callable[[Inputs], Tensors]:
    return lambda draw: {"input": draw.normal(*shape, scale=scale) + shift}


def _affine(
    shape: tuple[int, ...], parameter: tuple[int, ...], names: tuple[str, ...] = BOTH, **how: Any
) -> Callable[[Inputs], Tensors]:
    """Draw input [shape] and the named parameters [parameter], none near its initial value."""

    def arguments(draw: Inputs) -> Tensors:
        tensors = _input(*shape, **how)(draw)
        return tensors | {n: draw.uniform(*parameter, low=0.5, high=2.0) for n in names}

    return arguments


def _constant_row(draw: Inputs) -> Tensors:
    x = draw.normal(3, 5)
    x[1] = 0.5
    return {"input": x, "weight": draw.uniform(5, low=0.5, high=2.0)}


def _zero_row(draw: Inputs) -> Tensors:
    return _constant_row(draw) | {"input": draw.normal(3, 5) * draw.values(1, 0, 2).view(3, 1)}


def _not_finite(draw: Inputs) -> Tensors:
    x = draw.normal(3, 5)
    x[0, 0], x[1, 0] = nan, inf
    return {"input": x}


def _layer(
    name: str, why: str, arguments: Callable[[Inputs], Tensors], *shape: int, **more: Any
) -> OpCase:
    eps = {"eps": more.pop("eps")} if "eps" in more else {}
    return OpCase("layer_norm", name, why, arguments, {"normalized_shape": shape, **eps}, **more)


def _rms(
    name: str, why: str, arguments: Callable[[Inputs], Tensors], *shape: int, **more: Any
) -> OpCase:
    eps = {"eps": more.pop("eps")} if "eps" in more else {}
    return OpCase("rms_norm", name, why, arguments, {"normalized_shape": shape, **eps}, **more)


def _group(
    name: str, why: str, arguments: Callable[[Inputs], Tensors], groups: int, **more: Any
) -> OpCase:
    eps = {"eps": more.pop("eps")} if "eps" in more else {}
    return OpCase("group_norm", name, why, arguments, {"num_groups": groups, **eps}, **more)


def _response(
    name: str, why: str, arguments: Callable[[Inputs], Tensors], size: int, **options: Any
) -> OpCase:
    dtypes = options.pop("dtypes", NARROW)
    options = {"size": size, **options}
    return OpCase("local_response_norm", name, why, arguments, options, dtypes=dtypes)


OPS = [
    _layer("matrix", "the usual shape", _affine((3, 5), (5,)), 5),
    _layer("sequence", "leading axes are samples", _affine((2, 3, 4), (4,)), 4),
    _layer("two axes", "the mean runs over both", _affine((3, 2, 4), (2, 4)), 2, 4),
    _layer("image", "over channels and positions", _affine((2, 3, 2, 2), (3, 2, 2)), 3, 2, 2),
    _layer("last of four", "the positions are samples", _affine((2, 2, 3, 4), (4,)), 4),
    _layer("vector", "one sample without a batch axis", _affine((6,), (6,)), 6),
    _layer("no parameters", "h' is y'", _input(3, 5), 5),
    _layer("no bias", "b' is skipped", _affine((3, 5), (5,), ("weight",)), 5),
    _layer("no weight", "b' alone beside x'", _affine((3, 5), (5,), ("bias",)), 5),
    _layer("b' alone", "a sum over the samples is enough", _affine((2, 3, 4), (4,)), 4,
           constants=("input", "weight")),
    _layer("b' alone, one sample", "there is nothing to sum over", _affine((4,), (4,)), 4,
           constants=("input", "weight")),
    _layer("w' and b'", "a first layer: its x' is not needed", _affine((2, 3, 4), (4,)), 4,
           constants=("input",)),
    _layer("eps", "r is not 1 / std", _affine((3, 5), (5,)), 5, eps=0.5),
    _layer("one element", "h is 0, and so is x' but for its rounding, which 16 bits of torch hide",
           _affine((3, 1), (1,)), 1, dtypes=(torch.float32,)),
    _layer("one sample", "a size-1 axis", _affine((1, 6), (6,)), 6),
    _layer("constant row", "v = 0: x' is finite", _constant_row, 5, eps=0.1),
    _layer("large mean", "v as mean(x^2) - m^2 would cancel", _affine((3, 8), (8,), shift=300), 8),
    _layer("large values", "squares that overflow fp16", _affine((3, 5), (5,), scale=1e3), 5),
    _layer("not finite", "NaN must reach the monitor", _not_finite, 5, smooth=False),
    _layer("empty", "zero gradients of w and b", _affine((0, 5), (5,)), 5),
    _layer("empty, two axes", "no sample, samples of two axes", _affine((2, 0, 3), (3,)), 3),
    _rms("matrix", "the usual shape", _affine((3, 5), (5,), ("weight",)), 5),
    _rms("sequence", "leading axes are samples", _affine((2, 3, 4), (4,), ("weight",)), 4),
    _rms("two axes", "over both", _affine((3, 2, 4), (2, 4), ("weight",)), 2, 4),
    _rms("image", "over all but the batch", _affine((2, 3, 2, 2), (3, 2, 2), ("weight",)), 3, 2, 2),
    _rms("vector", "one sample", _affine((6,), (6,), ("weight",)), 6),
    _rms("no weight", "h' is y'", _input(3, 5), 5),
    _rms("w' alone", "a first layer: its x' is not needed",
         _affine((2, 3, 4), (4,), ("weight",)), 4, constants=("input",)),
    _rms("eps", "it counts", _affine((3, 5), (5,), ("weight",)), 5, eps=0.5),
    _rms("one element", "h is the sign of x", _affine((3, 1), (1,), ("weight",)), 1, eps=0.3),
    _rms("zero row", "s = 0: r is eps^(-1/2)", _zero_row, 5, eps=0.1),
    _rms("constant row", "layer norm's h would be 0", _constant_row, 5),
    _rms("large mean", "no mean is taken", _affine((3, 8), (8,), ("weight",), shift=300), 8),
    _rms("large values", "squares overflow fp16", _affine((3, 5), (5,), ("weight",), scale=1e3), 5),
    _rms("not finite", "NaN must reach the monitor", _not_finite, 5, smooth=False),
    _rms("empty", "zero gradient of w", _affine((0, 5), (5,), ("weight",)), 5),
    _rms("empty samples", "no elements at all", _affine((2, 0), (0,), ("weight",)), 0),
    _group("image", "two groups of two channels", _affine((2, 4, 2, 3), (4,)), 2),
    _group("one group", "over all but the batch", _affine((2, 4, 2, 2), (4,)), 1),
    _group("a group for each channel", "instance norm", _affine((2, 3, 4), (3,)), 3),
    _group("matrix", "no positions", _affine((3, 6), (6,)), 2),
    _group("volume", "five axes", _affine((2, 4, 1, 2, 3), (4,)), 2),
    _group("no parameters", "h' is y'", _input(2, 4, 3), 2),
    _group("no bias", "b' is skipped", _affine((2, 4, 3), (4,), ("weight",)), 2),
    _group("no weight", "b' beside x'", _affine((2, 4, 3), (4,), ("bias",)), 2),
    _group("b' alone", "a sum by channel is enough", _affine((2, 4, 3), (4,)), 2,
           constants=("input", "weight")),
    _group("w' and b'", "a first layer: its x' is not needed", _affine((2, 4, 3), (4,)), 2,
           constants=("input",)),
    _group("eps", "r is not 1 / std", _affine((2, 4, 3), (4,)), 2, eps=0.5),
    _group("one sample", "a size-1 axis", _affine((1, 4, 3), (4,)), 2),
    _group("large mean", "v would cancel", _affine((2, 4, 6), (4,), shift=300), 2),
    _group("empty", "zero gradients of w and b", _affine((0, 4, 3), (4,)), 2),
    _response("odd", "as many before as after", _input(2, 6, 3), 3, alpha=0.5),
    _response("even", "one more before than after", _input(2, 5, 3), 4, alpha=0.5),
    _response("two", "the smallest lopsided window", _input(2, 5, 3), 2, alpha=0.5),
    _response("one", "each channel alone", _input(2, 4, 3), 1, alpha=0.5),
    _response("window beyond the channels", "few neighbors exist", _input(2, 3, 2), 9, alpha=2.0),
    _response(
        "image", "four axes", _input(2, 5, 2, 2), 3, alpha=0.5, beta=0.6, k=2.0, dtypes=POOLED
    ),
    _response("volume", "five axes", _input(2, 4, 1, 2, 2), 3, alpha=0.5, beta=1.5, dtypes=POOLED),
    _response("defaults", "alpha is small", _input(2, 5, 3), 5),
    _response("beta 1", "y = x / s", _input(2, 5, 3), 3, alpha=1.0, beta=1.0, k=1.5),
    _response("beta 0", "nothing is damped: x' = y'", _input(2, 5, 3), 3, alpha=1.0, beta=0.0),
    _response("one channel", "no neighbor at all", _input(2, 1, 3), 3, alpha=1.0),
    _response("empty", "an empty batch", _input(0, 4, 3), 3),
]  # fmt: skip


def _module(
    module: str, why: str, arguments: Callable[[Inputs], Tensors], **options: Any
) -> ModuleCase:
    return ModuleCase(module, why, options, arguments)


MODULES = [
    _module("LayerNorm", "a number for the shape", _input(3, 5), normalized_shape=5),
    _module("LayerNorm", "a tuple for the shape", _input(3, 2, 4), normalized_shape=(2, 4)),
    _module("LayerNorm", "a list, an eps", _input(3, 5), normalized_shape=[5], eps=0.3),
    _module("LayerNorm", "no bias", _input(3, 5), normalized_shape=5, bias=False),
    _module("LayerNorm", "no parameters", _input(3, 5), normalized_shape=5,
            elementwise_affine=False),
    ModuleCase("LayerNorm", "evaluation is the same", {"normalized_shape": 5}, _input(3, 5), False),
    _module("GroupNorm", "groups", _input(2, 4, 3), num_groups=2, num_channels=4),
    _module("GroupNorm", "an eps", _input(2, 4, 2, 2), num_groups=4, num_channels=4, eps=0.3),
    _module("GroupNorm", "no parameters", _input(2, 4, 3), num_groups=1, num_channels=4,
            affine=False),
    ModuleCase("GroupNorm", "evaluation is the same", {"num_groups": 2, "num_channels": 4},
               _input(2, 4, 3), False),
    _module("RMSNorm", "eps None", _input(3, 5), normalized_shape=5),
    _module("RMSNorm", "a tuple, an eps", _input(3, 2, 4), normalized_shape=(2, 4), eps=0.3),
    _module("RMSNorm", "no parameters", _input(3, 5), normalized_shape=5,
            elementwise_affine=False),
    ModuleCase("RMSNorm", "evaluation is the same", {"normalized_shape": 5}, _input(3, 5), False),
    _module("LocalResponseNorm", "defaults", _input(2, 5, 3), size=3),
    _module("LocalResponseNorm", "every option", _input(2, 5, 4), size=2, alpha=0.5, beta=0.6,
            k=2.0),
]  # fmt: skip
