"""Points near given inputs, on no kink: equal values and zeros are where gradients have none.

Drawn shapes, zero padding, one-hot and integer inputs put thousands of elements at once on the kink
of a ReLU or on a tie of a max. Gradients are compared where each value has moved a little.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bptrain.verify.named_tensors import Tensors

JITTER = 0.05  # of a tensor's own standard deviation
NEARBY = 1e-3  # of it: a point where what is wrong is wrong again, unless it is so at a kink alone
ZERO = 1e-12  # what normalizing equal values leaves is no size to move by
CONSTANT = 1e-3  # a standard deviation below this, relative to the values, is no size to move by
Signs = Callable[[Tensor], Tensor]
SIGNS: tuple[Signs, ...] = (lambda moves: moves, torch.abs, lambda moves: -moves.abs())


def generic_point(
    function: Callable[[Tensors], Tensors], given: Tensors, names: set[str], seed: int
) -> Tensors:
    """Return the tensors with those of `names` moved at random, where the function is defined.

    A tensor stays within the range of its values, such as probabilities; where all its values are
    equal it moves both ways, or up or down alone where the function is defined only there.
    """
    before = _defined(function, given)
    for point in _points(given, names, seed):
        if _defined(function, point) >= before:
            return point
    return given


def nearby(tensors: Tensors, names: list[str], seed: int) -> Tensors:
    """Return the tensors with those of `names` moved by far less."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: moved(each, generator, NEARBY) if name in names else each
        for name, each in tensors.items()
    }


def _points(given: Tensors, names: set[str], seed: int) -> Iterator[Tensors]:
    for sign in SIGNS:
        generator = torch.Generator().manual_seed(seed)
        yield {
            name: moved(each, generator, JITTER, sign) if name in names else each.detach()
            for name, each in given.items()
        }


def _defined(function: Callable[[Tensors], Tensors], tensors: Tensors) -> int:
    """Return how many outputs are finite; -1 if the function refuses its inputs."""
    try:
        with torch.no_grad():
            outputs = function(tensors)
    except (ValueError, RuntimeError, IndexError):
        return -1
    return sum(int(output.isfinite().sum()) for output in outputs.values())


def moved(
    tensor: Tensor, generator: torch.Generator, share: float, sign: Signs = SIGNS[0]
) -> Tensor:
    """Return the values moved a little at random, each inside the range of all."""
    values = tensor.detach()
    if not values.is_floating_point() or values.numel() == 0:
        return values
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values.device)
    finite = values[values.isfinite()]
    if finite.numel() == 0:
        return values
    low, high = finite.min(), finite.max()
    largest, spread = float(finite.abs().max()), float(finite.std(correction=0))
    if spread <= CONSTANT * largest or largest <= ZERO:  # equal values
        return values + sign(share * (largest if largest > ZERO else 1.0) * drawn)
    there = values + share * spread * drawn
    there = torch.where(there > high, 2 * high - there, there)
    return torch.where(there < low, 2 * low - there, there)
