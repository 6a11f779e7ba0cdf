"""Cases of connectionist temporal classification; `input` is the log-probabilities.

The gradient under torch's convention is the one by the logits, which equals the one by
log-probabilities only along changes that keep each frame's probabilities summing to 1. Finite
differences are therefore taken through a log_softmax (`constraint`), which changes no value here,
as the inputs are log-probabilities already.
"""

from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import torch

from bptrain.verify.named_tensors import Tensors
from cases.case import Inputs, ModuleCase, OpCase

Draw = Callable[[Inputs], Tensors]


def _frames(
    T: int,
    targets: Sequence[list[int]] | Sequence[int],
    input_lengths: list[int],
    target_lengths: list[int],
    K: int = 3,
    scale: float = 1.0,
    dtype: torch.dtype = torch.int64,
) -> Draw:
    def arguments(draw: Inputs) -> Tensors:
        logits = draw.normal(T, len(input_lengths), K, scale=scale)
        integers = (targets, input_lengths, target_lengths)
        names = ("targets", "input_lengths", "target_lengths")
        return {"input": logits.log_softmax(-1)} | {
            name: torch.tensor(each, dtype=dtype, device=draw.device)
            for name, each in zip(names, integers, strict=True)
        }

    return arguments


def _one(T: int, target: list[int], **fields: Any) -> Draw:
    return _frames(T, [target], [T], [len(target)], **fields)


def _unbatched(draw: Inputs) -> Tensors:
    tensors = _one(4, [1, 2])(draw)
    return {
        "input": tensors["input"].squeeze(1),
        "targets": tensors["targets"].squeeze(0),
        "input_lengths": tensors["input_lengths"].squeeze(0),
        "target_lengths": tensors["target_lengths"].squeeze(0),
    }


def _spoiled(value: float, *place: int) -> Draw:
    def arguments(draw: Inputs) -> Tensors:
        tensors = _one(4, [1, 2])(draw)
        tensors["input"][place] = value
        return tensors

    return arguments


def _in_order(function: Callable[..., Any], tensors: Tensors) -> Any:
    return function(*tensors.values())


def _with_tuples(function: Callable[..., Any], tensors: Tensors) -> Any:
    x, targets, *lengths = tensors.values()
    return function(x, targets, *(tuple(each.tolist()) for each in lengths))


def _as_log_probabilities(tensors: Tensors) -> Tensors:
    return tensors | {"input": tensors["input"].log_softmax(-1)}


_fields: dict[str, Any] = {
    "dtypes": (torch.float32,),  # torch's CPU kernel knows no 16-bit
    "constraint": _as_log_probabilities,
}


def _ctc(name: str, why: str, arguments: Draw, smooth: bool = True, **options: Any) -> OpCase:
    call = options.pop("call", _in_order)
    return OpCase("ctc_loss", name, why, arguments, options, smooth, call=call, **_fields)


def _module(why: str, arguments: Draw, smooth: bool = True, **options: Any) -> ModuleCase:
    return ModuleCase("CTCLoss", why, options, arguments, smooth=smooth, **_fields)


_padded = _frames(5, [[1, 2], [2, 0], [1, 1]], [5, 4, 5], [2, 1, 2])
_in_a_row = _frames(5, [1, 2, 2, 1, 1], [5, 4, 5], [2, 1, 2])
_impossible = _frames(3, [[1, 1], [1, 2]], [2, 3], [2, 2])
_impossible_of_0 = _frames(3, [[0, 0], [1, 0]], [2, 3], [2, 2])

OPS = [
    _ctc("mean", "each sample divided by its labels, then by N", _padded),
    _ctc("sum", "no division", _padded, reduction="sum"),
    _ctc("none", "a loss for each sample", _padded, reduction="none"),
    _ctc("in a row", "targets one after the other", _in_a_row),
    _ctc("tuples", "lengths that are known", _padded, call=_with_tuples),
    _ctc("in a row, tuples", "both", _in_a_row, call=_with_tuples, reduction="none"),
    _ctc("in a row, empty among them", "nothing to read", _frames(3, [2, 1], [3, 3, 2], [1, 0, 1])),
    _ctc("int32", "other integers", _frames(4, [[1, 2]], [4], [2], dtype=torch.int32)),
    _ctc("padding out of range", "is never read", _frames(4, [[1, 2], [2, -1]], [4, 4], [2, 1])),
    _ctc("repeated label", "a blank must stand between", _one(5, [1, 1])),
    _ctc("repeated after another", "the skip over it is allowed", _one(4, [1, 2, 1])),
    _ctc("as long as the target", "one path alone", _one(3, [1, 2, 1])),
    _ctc("fits with its blank, alone", "three frames for two equal labels", _one(3, [2, 2])),
    _ctc("blank is another class", "0 is a label then", _one(4, [0, 1]), blank=2),
    _ctc("empty target", "the blank in each frame", _frames(3, [[1], [1]], [3, 2], [0, 1])),
    _ctc("all targets empty", "no place for a label at all", _frames(3, [[]], [3], [0])),
    _ctc("no frame, no label", "probability 1", _frames(3, [[1], [2]], [0, 3], [0, 1])),
    _ctc("shorter inputs", "no gradient past the input", _frames(6, [[1], [2]], [2, 4], [1, 1])),
    _ctc("one frame", "T = 1", _one(1, [1])),
    _ctc("many classes", "most are in no target", _one(3, [4, 2], K=6)),
    _ctc("unbatched", "no N", _unbatched),
    _ctc("unbatched, none", "its loss is a scalar", _unbatched, reduction="none"),
    _ctc("sure of itself", "probabilities that underflow", _one(5, [1, 2], scale=60.0), False),
    _ctc("impossible", "inf; NaN in its frames", _impossible, False, reduction="none"),
    _ctc("impossible, mean", "one infinite sample", _impossible, False),
    _ctc("impossible, zeroed", "0 for both", _impossible, False, zero_infinity=True),
    _ctc(
        "impossible, zeroed, none",
        "the other sample keeps its loss",
        _impossible,
        False,
        zero_infinity=True,
        reduction="none",
    ),
    _ctc("no frame", "inf, and 0 to every frame", _frames(2, [[1]], [0], [1]), False),
    _ctc("NaN of a label", "must reach the monitor", _spoiled(nan, 1, 0, 1), False),
    _ctc("NaN of another class", "stays in its place", _spoiled(nan, 1, 0, 2), False),
    _ctc("frame without probability", "no path", _spoiled(-inf, 1, 0), False),
]

MODULES = [
    _module("defaults", _padded),
    _module("targets in a row", _in_a_row),
    _module(
        "every option reaches it",
        _impossible_of_0,
        False,
        blank=2,
        reduction="sum",
        zero_infinity=True,
    ),
    _module("none", _padded, reduction="none"),
]
