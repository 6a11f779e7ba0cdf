"""The second test oracle: does it agree with its torch.nn counterpart, forward and backward?"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bptrain.verify.comparison import SMALLEST, Comparison, compare

GRADIENT = "gradient of "
NOISE = 1e-3  # as `smallest`: cancelled terms of size 1 leave 1e-14, 1e-11 of this
SAME = 1e-10  # in float64, where both round the same operations, in another order at most


def outcomes(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    tensors: Mapping[str, Tensor],
    names: list[str],
    seed: int,
) -> dict[str, Tensor]:
    """Return each output, and the gradient of each named tensor for random upstream gradients.

    A tensor that no output depends on has no entry.
    """
    leaves = {name: tensor.detach() for name, tensor in tensors.items()}
    for name in names:
        leaves[name].requires_grad_()
    outputs = function(leaves)
    differentiated = differentiable(outputs)
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        list(differentiated.values()),
        [leaves[name] for name in names],
        list(upstream(differentiated, seed).values()),
        allow_unused=True,
    )
    found = {name: output.detach() for name, output in outputs.items()}
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is not None:
            found[GRADIENT + name] = gradient
    return found


def differentiable(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs that have a gradient."""
    return {name: output for name, output in outputs.items() if output.requires_grad}


def upstream(outputs: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return a random upstream gradient for each output, never ones.

    With ones a wrong softmax hides: its outputs sum to 1 whatever the logits are.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(output.shape, generator=generator, dtype=torch.float64).to(
            output.device, output.dtype
        )
        for name, output in outputs.items()
    }


def parity(
    ours: Mapping[str, Tensor], reference: Mapping[str, Tensor], smallest: float = SMALLEST
) -> list[Comparison]:
    """Return a comparison for every output and gradient; both must have the same ones."""
    if ours.keys() != reference.keys():
        raise ValueError(f"ours has {sorted(ours)}, the reference {sorted(reference)}")
    return [compare(name, ours[name], tensor, smallest) for name, tensor in reference.items()]


def aligned(
    ours: dict[str, Tensor], reference: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return both outcomes with zeros for a gradient that only the other has."""

    def missing(here: dict[str, Tensor], there: dict[str, Tensor]) -> dict[str, Tensor]:
        names = [name for name in there if name not in here and name.startswith(GRADIENT)]
        return {name: torch.zeros_like(there[name]) for name in names}

    return ours | missing(ours, reference), reference | missing(reference, ours)


def same(reference: Mapping[str, Tensor]) -> float:
    """Return the relative error up to which two ways of rounding one formula agree.

    An operation told to compute float64 inputs in a narrower dtype rounds at each operation where
    it is written out, and once where a kernel carries it out: two units in that dtype's last place.
    """
    dtypes = {each.dtype for each in reference.values() if each.is_floating_point()}
    return max([SAME, *(2 * torch.finfo(dtype).eps for dtype in dtypes)])
