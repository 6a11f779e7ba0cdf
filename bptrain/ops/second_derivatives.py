"""What a second derivative reads: a Saved whose tensors depend on the inputs by autograd's graph.

A gradient is differentiated by recording the lines of `backward`. It is right only if autograd
knows how each tensor in Saved depends on the inputs:

    inputs and outputs   come back from autograd connected to the graph
    constants            masks, indices, signs: what has no derivative
    intermediates        means, norms, ...: `reconnect` of the operation computes them again from
                         the inputs in Saved

Whatever else is found, such as a copy of an input in another dtype or layout, would count as a
constant, and its part of the second derivative would be missing in silence: then this refuses.
"""

from typing import Any, Protocol

import torch
from torch import Tensor


class SecondDerivative(Protocol):
    """What an operation says about its Saved; see `operation`."""

    name: str
    inputs: tuple[str, ...]
    traits: Any  # its `constants` are read

    def reconnect(self, saved: Any) -> Any:
        """Return Saved with its intermediates computed again."""


def connected(op: SecondDerivative, saved: Any, needed: tuple[bool, ...]) -> Any:
    """Return Saved for the formula, connected to the graph, or raise NotImplementedError."""
    for name, value in zip(saved._fields, saved, strict=True):
        if name in op.inputs and needed[op.inputs.index(name)]:
            _check(op, name, value)
    again = op.reconnect(saved)
    given = {id(value) for value in saved}
    for name, value in zip(again._fields, again, strict=True):
        if name not in op.inputs and name not in op.traits.constants and id(value) in given:
            _check(op, name, value)
    return again


def _check(op: SecondDerivative, name: str, value: object) -> None:
    """Raise NotImplementedError for a tensor of which autograd does not know what it depends on."""
    if isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad:
        raise NotImplementedError(
            f"{op.name} has no second derivative here: {name} is saved as a number without its "
            "derivative. Compute this gradient without create_graph=True, or use the layer of "
            "torch.nn"
        )


def is_transformed() -> bool:
    """Tell whether autograd records the lines that run now, or torch.func batches them."""
    return torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()


def overwritable(x: Tensor) -> Tensor:
    """Return x, whose memory its caller may reuse, or a copy while autograd records the lines.

    A new tensor of 2 MB costs 1.4 ms on a CPU, thrice what is computed in it: the first gradient
    reuses memory where a second derivative has to keep what it will read.
    """
    return x.clone() if x.requires_grad and torch.is_grad_enabled() else x


def own_product(x: Tensor, y: Tensor) -> Tensor:
    """Return x y, in the memory of x, likewise the caller's own, unless the lines are transformed.

    A batch of upstream gradients, as torch.func.jacrev has it, does not fit into memory for one.
    """
    return x * y if is_transformed() else x.mul_(y)
