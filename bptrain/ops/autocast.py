"""Autocast: which dtype an operation computes in while `torch.autocast` is on.

torch gives each operation one of three policies, and so do we, by a decorator on its Function's
`forward`:

    in_autocast_dtype        matrix products and convolutions: autocast's own dtype, bf16 or fp16
    in_float32("cpu", ...)   sums that would lose digits: float32, on the device types named
    in_given_dtype           everything else: the dtype of what comes in
    in_widest_dtype          several inputs of one role, as in cat: the widest of their dtypes
    loss_in_float32("cpu")   losses: the result stays in float32, on the device types named

Inside the decorated `forward` autocast is off: the mathematics says itself in which dtype a line
computes. What it keeps for the backward pass is therefore what it computed with, and autograd
returns each gradient in the dtype of its tensor. float64 is never cast, as in torch.
Source: torch's "Automatic mixed precision", the tables of operations by policy.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Forward = TypeVar("Forward", bound=Callable[..., Any])


def in_autocast_dtype(forward: Forward) -> Forward:
    """Cast the tensors that `forward` is given to autocast's dtype while it is on."""
    return _with_policy(forward, lambda kind, tensors: torch.get_autocast_dtype(kind))


def in_float32(*device_types: str) -> Callable[[Forward], Forward]:
    """Cast 16-bit tensors to float32 while autocast is on, on devices of these types."""

    def policy(kind: str, tensors: list[Tensor]) -> torch.dtype | None:
        return torch.float32 if kind in device_types else None

    return lambda forward: _with_policy(forward, policy)


def in_widest_dtype(forward: Forward) -> Forward:
    """Cast the tensors to the widest dtype among them while autocast is on."""
    return _with_policy(forward, lambda kind, tensors: _widest(tensors))


def in_given_dtype(forward: Forward) -> Forward:
    """Cast nothing; only turn autocast off inside `forward`."""
    return _with_policy(forward, lambda kind, tensors: None)


def product_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a matrix product with `tensor` is computed in here.

    For operations that mix policies: products in autocast's dtype, the rest in a wider one.
    """
    if tensor.is_meta:  # has no autocast
        return tensor.dtype
    if torch.is_autocast_enabled(tensor.device.type) and _castable(tensor):
        return torch.get_autocast_dtype(tensor.device.type)
    return tensor.dtype


def loss_in_float32(*device_types: str) -> Callable[[Forward], Forward]:
    """Keep the loss that `forward` returns in float32 while autocast is on, on these devices.

    Such a `forward` computes in float32 or wider whatever it is given, and returns that. It is
    the result and not the tensors that the policy casts: 16-bit logits are then kept for the
    backward pass as they came, in half the memory of their copy in float32. Where the policy does
    not hold, the loss is rounded to the widest dtype of the tensors.
    """

    def decorate(forward: Forward) -> Forward:
        without_autocast = in_given_dtype(forward)

        @wraps(forward)
        def under_policy(ctx: Any, *arguments: Any) -> Tensor:
            loss: Tensor = without_autocast(ctx, *arguments)
            kind = loss.device.type
            if kind in device_types and torch.is_autocast_enabled(kind):
                return loss
            given = [each for each in arguments if _is_floating(each)]
            return loss.to(_widest(given))

        return under_policy  # type: ignore[return-value]

    return decorate


def first_derivative(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a Function's `backward`: autocast is off in it, and it has no derivative itself.

    Differentiating the gradient raises a RuntimeError that says so.
    """
    refusing_seconds = once_differentiable(backward)

    @wraps(backward)
    def without_autocast(ctx: Any, *grads: Tensor) -> Any:
        # Gradients are on here only when the caller asked for create_graph. The plain call saves
        # 3 us, half of what a small layer's backward pass costs in Python.
        run = refusing_seconds if torch.is_grad_enabled() else backward
        kind = _device_type(grads)
        if kind is None or not torch.is_autocast_enabled(kind):
            return run(ctx, *grads)
        with torch.autocast(kind, enabled=False):
            return run(ctx, *grads)

    return without_autocast


def _with_policy(
    forward: Forward, policy: Callable[[str, list[Tensor]], torch.dtype | None]
) -> Forward:
    @wraps(forward)
    def under_policy(ctx: Any, *arguments: Any) -> Any:
        kind = _device_type(arguments)
        if kind is None or not torch.is_autocast_enabled(kind):
            return forward(ctx, *arguments)
        dtype = policy(kind, [each for each in arguments if _castable(each)])
        if dtype is not None:
            arguments = tuple(each.to(dtype) if _castable(each) else each for each in arguments)
        with torch.autocast(kind, enabled=False):
            return forward(ctx, *arguments)

    return under_policy  # type: ignore[return-value]


def _device_type(arguments: tuple[Any, ...]) -> str | None:
    """Return where the first tensor lies; None for `meta`, which has no autocast."""
    for each in arguments:
        if isinstance(each, Tensor):
            return None if each.is_meta else each.device.type
    return None


def _is_floating(argument: object) -> bool:
    return isinstance(argument, Tensor) and argument.is_floating_point()


def _castable(argument: object) -> bool:
    return _is_floating(argument) and argument.dtype != torch.float64  # type: ignore[attr-defined]


def _widest(tensors: list[Tensor]) -> torch.dtype:
    widest = tensors[0].dtype
    for tensor in tensors[1:]:
        widest = torch.promote_types(widest, tensor.dtype)
    return widest
