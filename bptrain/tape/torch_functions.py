"""Functions of torch that are operations of bptrain: a record takes the operation in their place.

A model's own code calls them between its layers: `x + y`, F.relu, torch.cat. That an operation does
what the function does is proven with the rest of the step, against autograd.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from numbers import Number
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bptrain import ops
from bptrain.ops.add import add_function

METHODS = ("log_softmax", "relu", "sigmoid", "softmax", "tanh")  # of torch and Tensor, too


def add_in_place(input: Tensor, other: Tensor, *, alpha: float = 1) -> Tensor:
    """Add alpha * other to input, which keeps its shape and dtype."""
    is_wider = torch.result_type(input, other) != input.dtype
    if is_wider or torch.broadcast_shapes(input.shape, other.shape) != input.shape:
        raise ValueError("the sum has another shape or dtype than what it is written into")
    total: Tensor = add_function.call_in_place(input, other, alpha)
    return total


def relu_in_place(input: Tensor) -> Tensor:
    """Write max(input, 0) into input."""
    return ops.relu(input, inplace=True)


OPERATIONS: Mapping[Any, Callable[..., Any]] = {
    **{
        getattr(functional, name): getattr(ops, name)
        for name in ops.__all__
        if hasattr(functional, name)
    },
    **{getattr(place, name): getattr(ops, name) for place in (torch, Tensor) for name in METHODS},
    **dict.fromkeys((torch.add, Tensor.add), ops.add),
    **dict.fromkeys((Tensor.add_, Tensor.__iadd__), add_in_place),
    **dict.fromkeys((torch.relu_, Tensor.relu_), relu_in_place),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), ops.cat),
}


def operation_of(
    function: Any, args: tuple[Any, ...], options: Mapping[str, Any]
) -> Callable[[], Any] | None:
    """Return the call of an operation in place of a function's; None if there is none.

    Options that the operation does not have, which are deprecated ones, must not be given.
    """
    found = OPERATIONS.get(function)
    if found is None:
        return None
    signature = _signature(found)
    given = {k: v for k, v in options.items() if k in signature.parameters or v is not None}
    given.pop("_stacklevel", None)  # of a warning
    try:
        arguments = signature.bind(*args, **given).arguments
    except TypeError:
        return None
    if any(isinstance(arguments.get(name), Number) for name in ("input", "other")):  # x + 1
        return None
    return partial(found, *args, **given)


_signature = cache(inspect.signature)
