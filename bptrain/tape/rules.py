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
    shape = x.shape
    return lambda grad: grad.reshape(shape)


def _same(x: Tensor, *_: Any) -> Rule:
    return lambda grad: grad


def _cast_back(x: Tensor, *_: Any) -> Rule:
    dtype, device = x.dtype, x.device
    return lambda grad: grad.to(device, dtype)


def _transposed(x: Tensor, first: int, second: int) -> Rule:
    return lambda grad: grad.transpose(first, second)


def _t(x: Tensor) -> Rule:
    return lambda grad: grad.t()


def _permuted(x: Tensor, axes: list[int]) -> Rule:
    inverse = torch.tensor([axis % x.dim() for axis in axes]).argsort().tolist()
    return lambda grad: grad.permute(inverse)


def _expanded(x: Tensor, *_: Any) -> Rule:
    shape = x.shape
    return lambda grad: grad.sum_to_size(shape)


def _selected(x: Tensor, axis: int, index: int) -> Rule:
    shape = x.shape
    return lambda grad: aten.select_backward(grad, shape, axis, index)


def _sliced(x: Tensor, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Rule:
    shape, size = x.shape, x.shape[axis]
    first, last, _ = slice(start, end).indices(size)
    return lambda grad: aten.slice_backward(grad, shape, axis, first, last, step)


def _unbound(x: Tensor, axis: int = 0) -> Rule:
    return lambda *grads: torch.stack(grads, axis)


def _split(x: Tensor, sizes: Any, axis: int = 0) -> Rule:
    return lambda *grads: torch.cat(grads, axis)


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
    if make is None:
        return None
    return make(*arguments) if make in (_cast_back, _same) else make(*arguments, **options)
