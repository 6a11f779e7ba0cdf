"""In-place operations: `inplace=True`, and those that users apply to an output."""

from typing import Any

import torch
from torch import Tensor


def written_into(x: Tensor, y: Tensor, saved: Any) -> tuple[Tensor, Any]:
    """Write an operation's output y into its input x; return x, and what is saved then.

    An operation that saves y needs no memory besides x. One that saves x needs a copy of it.
    """
    saved = _with(saved, x, x.clone()) if any(each is x for each in saved) else saved
    return x.copy_(y), _with(saved, y, x)


def no_views_inside(inputs: tuple[Any, ...], outputs: Any, saved: Any) -> tuple[Any, Any]:
    """Return the outputs, and what is saved, without views of intermediate results.

    Autograd forbids the next layer to write into a view that was made inside a function. A view of
    an input stays one.
    """
    for y in outputs if isinstance(outputs, tuple) else (outputs,):
        if y is None or not y._is_view() or _is_view_of_any(y, inputs):
            continue
        own = torch.ops.aten._unsafe_view(y, y.shape)
        outputs = _with(outputs, y, own) if isinstance(outputs, tuple) else own
        saved = _with(saved, y, own)
    return outputs, saved


def _is_view_of_any(y: Tensor, inputs: tuple[Any, ...]) -> bool:
    tensors = [each for each in inputs if isinstance(each, Tensor)]
    return any(y._base is (each if each._base is None else each._base) for each in tensors)


def _with(tensors: Any, old: Tensor, new: Tensor) -> Any:
    """Return a tuple, plain or named, with one tensor in place of another."""
    changed = [new if each is old else each for each in tensors]
    return type(tensors)(*changed) if hasattr(tensors, "_fields") else tuple(changed)
