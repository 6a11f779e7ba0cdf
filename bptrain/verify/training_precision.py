"""The third test oracle: the error in the precision of training, no worse than torch.nn's own."""

from collections.abc import Callable
from math import inf, isfinite
from statistics import median
from typing import NamedTuple

import torch

from bptrain.verify.comparison import Comparison
from bptrain.verify.layer_calls import LayerCall
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import GRADIENT, aligned, outcomes, parity

WORSE = 1.5  # times torch's own error, and
FLOOR = 4  # units in the last place, may ours have in the training precision
LOST = 0.1  # with a larger error of torch's own nothing is left of a gradient to compare
DRAWS = 6  # further points: one draw of few roundings says little about two good formulas
Function = Callable[[Tensors], Tensors]


class Error(NamedTuple):
    """The worst error in the training precision, and the bound on it; infinite for none."""

    found: Comparison
    bound: float


def in_precision(
    call: LayerCall, point: Tensors, precision: torch.dtype, seed: int, ignored: set[str]
) -> Error:
    """Return the output's or gradient's error that is nearest to its bound by torch's own error.

    Where there is no torch.nn counterpart, and through a whole model, whose gates may fall
    otherwise in another rounding, there is no bound.

    ignored  tensors whose gradients are not looked at
    """
    ours = call.as_function(call.module)
    theirs = None
    if call.reference is not None and not call.is_whole:
        theirs = call.as_function(call.reference)
    names = call.differentiable
    errors = _errors(ours, theirs, point, names, (precision, seed))
    errors = {k: v for k, v in errors.items() if k.removeprefix(GRADIENT) not in ignored} or errors
    worst = max(errors, key=lambda name: (_share(errors[name]), name))
    if theirs is None or _share(errors[worst]) <= 1:
        return errors[worst]
    more = [
        _errors(ours, theirs, call.point_of(draw), names, (precision, seed))
        for draw in range(DRAWS)
    ]
    bound = median([each[worst].bound for each in [*more, errors]])
    middle = median([each[worst].found.relative_error for each in [*more, errors]])
    if middle <= bound:  # not worse, on the whole
        return Error(errors[worst].found, max(errors[worst].found.relative_error, bound))
    return errors[worst]


def _share(error: Error) -> float:
    """Return the error as a share of its bound, of errors without one the error itself."""
    return error.found.relative_error / (error.bound if isfinite(error.bound) else 1.0)


def _errors(
    ours: Function,
    theirs: Function | None,
    point: Tensors,
    names: list[str],
    setting: tuple[torch.dtype, int],
) -> dict[str, Error]:
    """Return the error of each output and gradient, and its bound."""
    precision, seed = setting
    rounded = {k: v.float() if k in names else v for k, v in point.items()}
    widened = {k: v.double() if k in names else v for k, v in rounded.items()}
    exact = outcomes(ours, widened, names, seed)

    def errors(function: Function) -> dict[str, Comparison]:
        def in_training(given: Tensors) -> Tensors:
            kind = next(iter(given.values())).device.type
            with torch.autocast(kind, precision, enabled=precision != torch.float32):
                return function(given)

        return {
            each.tensor: each
            for each in parity(*aligned(outcomes(in_training, rounded, names, seed), exact))
        }

    mine = errors(ours)
    if theirs is None:
        return {name: Error(found, inf) for name, found in mine.items()}
    floor = FLOOR * torch.finfo(precision).eps
    bounds = {name: found.relative_error for name, found in errors(theirs).items()}
    return {
        name: Error(found, inf if bounds[name] > LOST else WORSE * bounds[name] + floor)
        for name, found in mine.items()
    }
