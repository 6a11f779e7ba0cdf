"""Second derivatives of a case against finite differences of its gradients, in float64."""

from typing import Any

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import differentiable
from cases.case import Case, differentiated


def second_derivatives_are_right(case: Case, tensors: Tensors) -> bool:
    """Compare them by inputs and upstream gradients; raise what torch.autograd's checks raise.

    gradgradcheck differentiates one gradient at a time. What a gradient penalty differentiates is
    a function of all: then a backward pass gets the gradients of several saved tensors together.
    """
    names = differentiated(case, tensors)
    leaves = [tensors[name].clone().requires_grad_() for name in names]

    def outputs(*moved: Tensor) -> Any:
        changed = tensors | dict(zip(names, moved, strict=True))
        return tuple(differentiable(case.ours(changed)).values())

    def penalty(*moved: Tensor) -> Tensor:
        loss = sum(_weighted(each) for each in outputs(*moved))
        found = torch.autograd.grad(loss, moved, create_graph=True, allow_unused=True)
        given = [each.square().sum() for each in found if each is not None]
        return sum(given, torch.zeros((), dtype=torch.float64))

    torch.default_generator.manual_seed(0)  # of the directions that are compared
    torch.autograd.gradgradcheck(outputs, leaves, fast_mode=True)
    return not penalty(*leaves).requires_grad or torch.autograd.gradcheck(
        penalty, leaves, fast_mode=True
    )


def _weighted(output: Tensor) -> Tensor:
    """Return a sum whose weights differ, as the plain sum of a softmax is constant."""
    return output.flatten() @ torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype)
