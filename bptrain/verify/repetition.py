"""Does a call answer the same the second time? A backward pass that changes what it saved does not.

Gradients are computed, computed again from the same graph, and once more from a new forward pass.
What differs is most often a saved tensor, an upstream gradient or an attribute that the backward
pass changed in place, or numbers that it draws itself.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.verify.comparison import SMALLEST, Comparison
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import GRADIENT, differentiable, parity, upstream

NOISE = 1e-5  # of the largest gradient: sums in another order, as some GPU kernels add
FREED = (RuntimeError, AttributeError)  # what a backward pass raises that frees what it saved


class Repetition(NamedTuple):
    """How the second answers compare with the first."""

    outputs: list[Comparison]
    gradients: list[Comparison]


def repeated(
    function: Callable[[Tensors], Mapping[str, Tensor]],
    tensors: Tensors,
    names: list[str],
    seed: int,
) -> Repetition:
    """Return the second outputs, and the second and third gradients, compared with the first."""
    first_outputs, first, again = _twice(function, tensors, names, seed)
    second_outputs, third, _ = _twice(function, tensors, names, seed)
    smallest = NOISE * max(
        [float(each.abs().nan_to_num().max()) for each in first.values() if each.numel()], default=0
    )
    smallest = max(smallest, SMALLEST)
    compared = [] if again is None else parity(again, first, smallest)
    return Repetition(
        parity(second_outputs, first_outputs), compared + parity(third, first, smallest)
    )


def _twice(
    function: Callable[[Tensors], Mapping[str, Tensor]],
    tensors: Tensors,
    names: list[str],
    seed: int,
) -> tuple[Tensors, Tensors, Tensors | None]:
    """Return outputs, gradients and the gradients again; None if the first pass freed them."""
    leaves = {name: each.detach().clone() for name, each in tensors.items()}
    for name in names:
        leaves[name].requires_grad_()
    outputs = differentiable(function(leaves))
    kept = {name: each.detach().clone() for name, each in outputs.items()}
    grads = list(upstream(outputs, seed).values())

    def gradients() -> Tensors:
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            list(outputs.values()), [leaves[name] for name in names], grads,
            allow_unused=True, retain_graph=True,
        )  # fmt: skip
        return {
            GRADIENT + name: each.detach().clone()
            for name, each in zip(names, found, strict=True)
            if each is not None
        }

    first = gradients()
    try:
        return kept, first, gradients()
    except FREED:
        return kept, first, None
