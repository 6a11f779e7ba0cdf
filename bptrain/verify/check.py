"""The proof on a user's own model: every layer's gradients, then the whole, then its precision.

Each layer is checked alone (`layer_calls.py`), with random upstream gradients, against three test
oracles:

    finite differences   the backward pass against the forward pass: `finite_differences.py`
    torch autograd       against the same layer in torch.nn, every element: `parity.py`
    float32, ...         the error in the precision of training, no worse than torch.nn's

Where an operation of the layer has a fused kernel beside its formula, both are checked.
"""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.verify.comparison import SMALLEST, Comparison
from bptrain.verify.finite_differences import TOLERANCE, Sampling, differences
from bptrain.verify.kernels_used import kernels_used
from bptrain.verify.layer_calls import WHOLE, LayerCall, layer_calls
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import outcomes, parity
from bptrain.verify.report import Oracle, Report, Row

SAME = 1e-9  # relative: two orders of summation in float64
NOISE = 1e-5  # of the largest gradient: what cancels (a bias before a normalization) leaves 1e-16
WORSE = 1.5  # times torch's own error, and
FLOOR = 4  # units in the last place, may ours have in the training precision
PRECISIONS: dict[torch.dtype, Oracle] = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
SEED = 11  # of the upstream gradients and the sampled elements
Function = Callable[[Tensors], Tensors]


def check(
    module: torch.nn.Module,
    inputs: Tensor | Sequence[Any],
    *,
    reference: torch.nn.Module | None = None,
    precision: torch.dtype = torch.float32,
    sampling: Sampling | None = None,
) -> Report:
    """Prove the gradients of a module and of each of its layers, on a copy, in its own mode.

    inputs     the arguments of a call, one tensor or several
    reference  the same network with torch's own gradients and the same state_dict keys; for
               layers of bptrain.nn it is made here, other layers are checked by finite
               differences alone where it is not given
    precision  torch.float32, or bfloat16 or float16 for training under autocast
    sampling   how many elements of each tensor are moved

    Raises ValueError if the module has no floating-point tensor to differentiate.
    """
    sampling = sampling or Sampling()
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    with torch.random.fork_rng():
        whole, *layers = layer_calls(module, arguments, reference)
        rows = [row for call in layers or [whole] for row in _checked(call, precision, sampling)]
        notes = []
        if layers and all(row.is_right for row in rows):
            rows += _checked(whole, precision, sampling.of_a_whole_model())
        elif layers:
            notes.append("the whole model is not checked while a layer is wrong")
    if not rows:
        raise ValueError("nothing to differentiate: no floating-point input and no parameter")
    return Report(rows, notes)


def _checked(call: LayerCall, precision: torch.dtype, sampling: Sampling) -> list[Row]:
    """Return the rows of a call against each oracle, for the kernels and for the formulas."""
    if not call.differentiable:
        return []
    choices = kernels_used(call.as_function(call.module), call.tensors, call.differentiable)
    return [row for kernels in choices for row in _checked_with(kernels, call, precision, sampling)]


def _checked_with(
    kernels: Kernels, call: LayerCall, precision: torch.dtype, sampling: Sampling
) -> list[Row]:
    """Return the rows of a call whose operations use these kernels."""
    ours, names = call.as_function(call.module), call.differentiable

    def row(oracle: Oracle, found: Comparison, tolerance: float, kinks: int = 0) -> Row:
        return Row(call.name, call.kind, kernels, oracle, found, tolerance, kinks)

    with use_kernels(kernels):
        rows = [
            row("finite differences", found, TOLERANCE, kinks)
            for found, kinks in differences(ours, call.tensors, names, SEED, sampling)
        ]
        theirs = None if call.reference is None else call.as_function(call.reference)
        if theirs is not None:
            mine, expected = (outcomes(f, call.tensors, names, SEED) for f in (ours, theirs))
            smallest = NOISE * max(_largest(expected), SMALLEST)
            rows += [
                row("torch autograd", found, SAME) for found in parity(mine, expected, smallest)
            ]
        rows.append(row(PRECISIONS[precision], *_in_precision(call, ours, theirs, precision)))
    return rows


def _largest(outcome: Tensors) -> float:
    """Return the largest finite magnitude among the outputs and gradients."""
    sizes = [each[each.isfinite()].abs() for each in outcome.values()]
    return max([float(each.max()) for each in sizes if each.numel()], default=0.0)


def _in_precision(
    call: LayerCall, ours: Function, theirs: Function | None, precision: torch.dtype
) -> tuple[Comparison, float]:
    """Return the worst error in the training precision, and its bound by torch's own error.

    Where there is no torch.nn counterpart, and through a whole model, whose gates may fall
    otherwise in another rounding, there is no bound.
    """
    names = call.differentiable
    rounded = {k: v.float() if k in names else v for k, v in call.tensors.items()}
    widened = {k: v.double() if k in names else v for k, v in rounded.items()}
    exact = outcomes(ours, widened, names, SEED)
    mine = _errors(ours, rounded, names, exact, precision)
    limits = dict.fromkeys(mine, inf)
    if theirs is not None and call.name != WHOLE:
        expected = _errors(theirs, rounded, names, exact, precision)
        floor = FLOOR * torch.finfo(precision).eps
        limits = {name: WORSE * expected[name].relative_error + floor for name in mine}
    worst = max(mine, key=lambda name: (mine[name].relative_error / limits[name], name))
    if not isfinite(limits[worst]):
        worst = max(mine, key=lambda name: mine[name].relative_error)
    return mine[worst], limits[worst]


def _errors(
    function: Function, tensors: Tensors, names: list[str], exact: Tensors, precision: torch.dtype
) -> dict[str, Comparison]:
    """Return the error of each output and gradient in the training precision."""

    def in_training(given: Tensors) -> Tensors:
        kind = next(iter(given.values())).device.type
        with torch.autocast(kind, precision, enabled=precision != torch.float32):
            return function(given)

    found = outcomes(in_training, tensors, names, SEED)
    return {each.tensor: each for each in parity(found, exact)}
