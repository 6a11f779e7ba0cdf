"""From the loss of each element to the loss of all, and back: shared by every loss.

Shapes     l [...] the loss of each of M elements   L one number, or the shape of l for 'none'
Forward    L = l  (none)   sum_m l_m  (sum)   sum_m l_m / A  (mean)
           A = M for most losses; a few divide by the sum of their weights, or by the batch size
Backward   writing l' for dL/dl, given L'
    l' = L'  (none, sum)   L' / A  (mean)   because dL/dl_m = 1, or 1 / A for the mean

What l is, and how it depends on the tensors, is each loss's own; and where A depends on a tensor
that is differentiated, the loss itself adds what flows back through A.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from bptrain.ops.memory_order import set_zero
from bptrain.ops.second_derivatives import is_transformed

Reduction = Literal["none", "mean", "sum"]


def reduced(losses: Tensor, reduction: Reduction, weights: Tensor | int) -> Tensor:
    """Return L from l; the mean divides by the sum of `weights`, or by that many elements.

    The mean of nothing is NaN, as in torch.
    """
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / _divisor(weights)


def grad_of_elements(grad_loss: Tensor, reduction: Reduction, weights: Tensor | int) -> Tensor:
    """Return l', in float32 or wider: one number unless `reduction` is 'none'.

    Wider than 16 bits because L' / A falls below the smallest float16 where A is large.
    """
    grad_losses = grad_loss.to(wide_dtype(grad_loss))
    return grad_losses / _divisor(weights) if reduction == "mean" else grad_losses


def weighted(values: Tensor, w: Tensor | None) -> Tensor:
    """Return w times the values, 0 where w is 0 whatever the value is.

    Symptom: a NaN loss, or NaN gradients, from an element that has no weight. Cause: 0 times
    infinity or NaN, such as the error of a missing target. Remedy: what does not count is set to 0.
    """
    if w is None:
        return values
    if is_transformed():  # the derivative by w is the value, also where w is 0
        return torch.where((w == 0) & ~values.isfinite(), 0, values) * w
    return set_zero(values * w, w == 0)


def with_more(gradient: Tensor | None, more: Tensor | None) -> Tensor | None:
    """Return the sum of what a gradient has from the loss and, in second derivatives, from Saved.

    None is a gradient that is not needed, or nothing more.
    """
    return gradient if gradient is None or more is None else gradient + more


def _divisor(weights: Tensor | int) -> Tensor | int:
    return weights.sum() if isinstance(weights, Tensor) else weights


def widened(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in their common dtype, float32 or wider.

    A loss is a sum of many small terms: with the 8 bits of a bfloat16's mantissa it would stop
    growing after some 256 of them.
    """
    dtype = wide_dtype(*tensors)
    return [tensor.to(dtype) for tensor in tensors]


def wide_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the common dtype of the tensors, float32 or wider."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def checked_reduction(reduction: str, *more: str) -> None:
    """Raise ValueError unless `reduction` is one of torch's three names, or of `more`."""
    names = (*get_args(Reduction), *more)
    if reduction not in names:
        expected = ", ".join(repr(name) for name in names[:-1])
        raise ValueError(f"reduction is {reduction!r}, expected {expected} or {names[-1]!r}")


def checked_shapes(**tensors: Tensor | None) -> None:
    """Raise ValueError unless all the tensors that are given have one shape.

    torch broadcasts where they have not, with a warning at best: a prediction [N, 1] against a
    target [N] silently becomes N^2 errors.
    """
    shapes = {name: list(each.shape) for name, each in tensors.items() if each is not None}
    if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
        given = ", ".join(f"{name} has shape {shape}" for name, shape in shapes.items())
        raise ValueError(f"{given}: expected the same shape")


def checked_broadcast(input: Tensor, **weights: Tensor | None) -> None:
    """Raise ValueError unless each weight broadcasts to the shape of `input` and is a constant."""
    for name, weight in weights.items():
        if weight is None:
            continue
        sizes = zip(reversed(weight.shape), reversed(input.shape), strict=False)
        if weight.dim() > input.dim() or any(w not in (1, x) for w, x in sizes):
            raise ValueError(
                f"{name} has shape {list(weight.shape)}, which does not broadcast to the shape "
                f"of input, {list(input.shape)}"
            )
        checked_constant(**{name: weight})


def checked_constant(**tensors: Tensor | None) -> None:
    """Raise ValueError if a gradient is asked for that is not offered, by torch neither."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name} requires a gradient, which is not offered: detach it")
