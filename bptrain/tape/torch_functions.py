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
from bptrain.tape.torch_arithmetic import ARITHMETIC

METHODS = ("log_softmax", "mean", "relu", "sigmoid", "softmax", "tanh")  # of torch and Tensor, too


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
    **ARITHMETIC,
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
    if isinstance(arguments.get("input"), Number) or isinstance(arguments.get("other"), complex):
        return None
    return partial(found, *args, **given)


_signature = cache(inspect.signature)
