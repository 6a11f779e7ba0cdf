"""The chain rule through what stands between operations: views, copies and casts.

Each of them moves numbers, and computes none: its gradient moves the upstream gradient back. A
function that is not in this table has no rule, and keeps the model off the tape.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bptrain.tape.calls import Rule

aten = torch.ops.aten


def _reshaped(x: Tensor, *_: Any) -> Rule:
    return Rule(aten.reshape.default, (list(x.shape),))


def _same(x: Tensor, *_: Any, **__: Any) -> Rule:
    return Rule(aten.alias.default)


def _cast_back(x: Tensor, *_: Any, **__: Any) -> Rule:
    return Rule(Tensor.to, (x.device, x.dtype))


def _transposed(x: Tensor, first: int, second: int) -> Rule:
    return Rule(aten.transpose.int, (first, second))


def _t(x: Tensor) -> Rule:
    return Rule(aten.t.default)


def _permuted(x: Tensor, axes: list[int]) -> Rule:
    order = [axis % x.dim() for axis in axes]
    return Rule(aten.permute.default, ([order.index(axis) for axis in range(x.dim())],))


def _expanded(x: Tensor, *_: Any, **__: Any) -> Rule:
    return Rule(Tensor.sum_to_size, (list(x.shape),))


def _selected(x: Tensor, axis: int, index: int) -> Rule:
    return Rule(aten.select_backward.default, (list(x.shape), axis, index))


def _sliced(x: Tensor, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Rule:
    first, last, _ = slice(start, end).indices(x.shape[axis])
    return Rule(aten.slice_backward.default, (list(x.shape), axis, first, last, step))


def _unbound(x: Tensor, axis: int = 0) -> Rule:
    return Rule(torch.stack, (axis,), joins=True)


def _split(x: Tensor, sizes: Any, axis: int = 0) -> Rule:
    return Rule(torch.cat, (axis,), joins=True)


RULES: dict[Any, Callable[..., Rule]] = {
    aten.view.default: _reshaped,
    aten._unsafe_view.default: _reshaped,
    aten.reshape.default: _reshaped,
    aten.unsqueeze.default: _reshaped,
    aten.squeeze.default: _reshaped,
    aten.squeeze.dim: _reshaped,
    aten.squeeze.dims: _reshaped,
    aten.clone.default: _same,
    aten.alias.default: _same,
    aten._to_copy.default: _cast_back,
    aten.transpose.int: _transposed,
    aten.t.default: _t,
    aten.permute.default: _permuted,
    aten.expand.default: _expanded,
    aten.select.int: _selected,
    aten.slice.Tensor: _sliced,
    aten.unbind.int: _unbound,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
}

WITHOUT_GRADIENT = {  # what they return does not depend on the numbers, or counts as a constant
    *(aten.detach.default, aten.zeros_like.default, aten.ones_like.default),
    *(aten.full_like.default, aten.new_zeros.default, aten.new_ones.default),
    aten.new_full.default,
}
READS_NUMBERS = {aten._local_scalar_dense.default, aten.equal.default}


def rule_of(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Rule | None:
    """Return the rule of a call with these arguments, or None if there is none."""
    make = RULES.get(function)
    return None if make is None else make(*arguments, **options)
