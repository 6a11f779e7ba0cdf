"""The first test oracle: does the backward pass agree with what the forward pass does?

The loss is L = sum_i u_i y_i with random u over every output, so that each output has a gradient
of its own size. An element x is moved a little both ways, and x' compared with the slope of L
there (`slope.py`). For an element at a kink, where no derivative exists, another one is chosen, and
it is counted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.verify.comparison import Comparison, compare
from bptrain.verify.parity import differentiable, upstream
from bptrain.verify.slope import TOLERANCE, Scale, Slope, numeric_slope

MOVED_THROUGH_ALL = 4  # elements of each tensor
TRIES = 4  # elements looked at for each that is to be compared, at most
TINY = 1e-300  # a scale of 0 would be none

__all__ = ["TOLERANCE", "Differences", "Sampling", "differences", "gradcheck", "numeric_gradient"]


@dataclass(frozen=True)
class Sampling:
    """Which elements are moved: in a large tensor a few by themselves, and all of them together.

    elements    elements of each tensor that are moved one by one; None for all of them
    directions  random directions along which a sampled tensor is moved as a whole, so that a wrong
                element among those not sampled shows too
    """

    elements: int | None = 24
    directions: int = 2

    def of_a_whole_model(self) -> "Sampling":
        """Return fewer elements: each costs a pass of the whole model, whose layers are proven."""
        each = MOVED_THROUGH_ALL if self.elements is None else min(self.elements, MOVED_THROUGH_ALL)
        return replace(self, elements=each)

    def takes_all(self, gradient: Tensor) -> bool:
        """Tell whether every element is moved by itself."""
        return self.elements is None or gradient.numel() <= self.elements

    def candidates(self, gradient: Tensor, generator: torch.Generator) -> list[int]:
        """Return flat indices to move in order, the largest gradient's first; all, or enough."""
        if self.takes_all(gradient):
            return list(range(gradient.numel()))
        drawn = torch.randperm(gradient.numel(), generator=generator)
        largest = int(gradient.abs().argmax())  # the place of a NaN if there is one
        return [largest, *drawn[: TRIES * (self.elements or 0) - 1].tolist()]


@dataclass(frozen=True)
class Differences:
    """A tensor's gradient against finite differences.

    found    the worst comparison, an element's or a direction's; None if nothing could be compared
    skipped  elements and directions that could not: at a kink, or lost in the loss's rounding
    outside  an element at a kink whose gradient is not between the slopes of its sides
    """

    name: str
    found: Comparison | None
    skipped: int = 0
    outside: Comparison | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether a comparison is beyond the tolerance."""
        return self.found is not None and not self.found.relative_error <= TOLERANCE


def scale_of(gradient: Tensor) -> float:
    """Return the largest finite magnitude."""
    finite = gradient[gradient.isfinite()]
    return max(float(finite.abs().max()) if finite.numel() else 0.0, TINY)


def slope_of_element(
    loss: Callable[[], Tensor], element: Tensor, ours: float, scale: Scale
) -> Slope:
    """Return the numeric derivative by a float64 scalar view, which is moved and restored."""
    x = element.item()

    def along(distance: float) -> float:
        element.fill_(x + distance)
        return loss().item()

    try:
        return numeric_slope(along, ours, scale._replace(step=max(1.0, abs(x))))
    finally:
        element.fill_(x)


def numeric_gradient(
    loss: Callable[[], Tensor],
    tensor: Tensor,
    ours: Tensor,
    elements: Iterable[int] | None = None,
    terms: float = 0.0,
) -> tuple[Tensor, int]:
    """Return the finite differences of `loss` by the elements of `tensor`, and how many are kinks.

    tensor    float64 and contiguous; it is changed in place and restored
    elements  flat indices of the elements to move, all of them by default; the others, and those
              at a kink, where nothing can be compared, are given as ours. At a kink a gradient
              that is not between the slopes of its sides can be
    """
    gradient = ours.detach().clone(memory_format=torch.contiguous_format)
    flat, flat_gradient = tensor.detach().view(-1), gradient.view(-1)
    scale = Scale(scale_of(gradient), terms)
    kinks = 0
    for i in range(flat.numel()) if elements is None else elements:
        slope = slope_of_element(loss, flat[i], flat_gradient[i].item(), scale)
        is_kink = slope.is_kink and not slope.is_outside
        kinks += is_kink
        if not is_kink:
            flat_gradient[i] = slope.value
    return gradient, kinks


def gradcheck(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    tensors: Mapping[str, Tensor],
    names: list[str],
    seed: int,
) -> list[Comparison]:
    """Return a comparison for each named tensor's gradient with finite differences, by element.

    function   takes the named tensors, in float64, and returns the named outputs
    """
    made = _Loss(function, tensors, names, seed)
    return [
        compare(name, ours, numeric_gradient(made, made.leaves[name], ours, None, made.terms)[0])
        for name, ours in made.gradients()
    ]


def differences(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    tensors: Mapping[str, Tensor],
    names: list[str],
    seed: int,
    sampling: Sampling,
) -> Iterator[Differences]:
    """Yield how each named tensor's gradient compares with finite differences."""
    made = _Loss(function, tensors, names, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, ours in made.gradients():
        by_element = _by_element(made, name, ours, sampling, generator)
        found = [by_element]
        if not sampling.takes_all(ours):
            found += _along_directions(made, name, ours, sampling.directions, generator)
        compared = [each.found for each in found if each.found is not None]
        worst = max(compared, key=lambda each: each.relative_error, default=None)
        yield replace(by_element, found=worst, skipped=sum(each.skipped for each in found))


class _Loss:
    """The loss of a function's outputs as a function of its tensors, changed in place."""

    def __init__(
        self,
        function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
        tensors: Mapping[str, Tensor],
        names: list[str],
        seed: int,
    ) -> None:
        self.function, self.names = function, names
        # own memory for each element: an expanded input cannot be moved one element at a time
        self.leaves = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
        for name in names:
            self.leaves[name].requires_grad_()
        outputs = differentiable(function(self.leaves))
        self.grads = upstream(outputs, seed)
        # copies: a backward pass that changes its upstream gradient would change the loss, too
        torch.autograd.backward(
            list(outputs.values()), [each.clone() for each in self.grads.values()]
        )
        self.terms = sum(
            float((outputs[name].detach() * grad).abs().sum()) for name, grad in self.grads.items()
        )

    def gradients(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each named tensor's gradient, zeros if it has none."""
        for name in self.names:
            leaf = self.leaves[name]
            yield name, torch.zeros_like(leaf) if leaf.grad is None else leaf.grad

    def __call__(self) -> Tensor:
        with torch.no_grad():
            moved = self.function(self.leaves)
            parts = [(moved[name] * grad).sum() for name, grad in self.grads.items()]
            return torch.stack(parts).sum()


def _by_element(
    loss: _Loss, name: str, ours: Tensor, sampling: Sampling, generator: torch.Generator
) -> Differences:
    """Compare elements one by one, others in the place of those at a kink."""
    numeric = ours.detach().clone(memory_format=torch.contiguous_format)
    flat, flat_ours, flat_numeric = (
        loss.leaves[name].detach().view(-1),
        ours.reshape(-1),
        numeric.view(-1),
    )
    scale = Scale(scale_of(ours), loss.terms)
    compared, skipped = 0, 0
    outside: Comparison | None = None
    for i in sampling.candidates(ours, generator):
        slope = slope_of_element(loss, flat[i], flat_ours[i].item(), scale)
        if slope.is_kink:
            skipped += 1
            if slope.is_outside:
                outside = _at(name, ours, i, slope.value, scale)
            continue
        flat_numeric[i] = slope.value
        compared += 1
        if compared == sampling.elements:
            break
    found = compare(name, ours, numeric) if compared or not ours.numel() else None
    return Differences(name, found, skipped, outside)


def _at(name: str, ours: Tensor, position: int, reference: float, scale: Scale) -> Comparison:
    """Return the comparison of one element."""
    place = torch.unravel_index(torch.tensor(position), ours.shape)
    mine = ours.reshape(-1)[position].item()
    error = abs(mine - reference) / scale.gradient
    return Comparison(name, tuple(int(each) for each in place), mine, reference, error)


def _along_directions(
    loss: _Loss, name: str, ours: Tensor, directions: int, generator: torch.Generator
) -> Iterator[Differences]:
    """Yield comparisons along random directions, others in the place of those across a kink."""
    compared = 0
    for _ in range(TRIES * directions):
        found = along_a_direction(name, loss, loss.leaves[name], ours, generator, loss.terms)
        yield Differences(name, found, skipped=int(found is None))
        compared += found is not None
        if compared == directions:
            break


def along_a_direction(
    name: str,
    loss: Callable[[], Tensor],
    tensor: Tensor,
    ours: Tensor,
    generator: torch.Generator,
    terms: float,
) -> Comparison | None:
    """Compare <x', v> with the slope of the loss along a random unit vector v; None at a kink."""
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    v = (drawn / drawn.norm()).to(tensor.device)
    start = tensor.detach().clone()

    def loss_along(distance: float) -> float:
        tensor.detach().copy_(start + distance * v)
        return loss().item()

    projected = float((ours * v).sum())
    norm = float(ours.norm()) / max(ours.numel(), 1) ** 0.5  # what <x', v> amounts to
    slope = numeric_slope(loss_along, projected, Scale(max(norm, TINY), terms))
    tensor.detach().copy_(start)
    if slope.is_kink:
        return None
    error = abs(projected - slope.value) / max(norm, TINY)
    return Comparison(name, None, projected, slope.value, error)
