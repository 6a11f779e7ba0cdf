"""The first test oracle: does the backward pass agree with what the forward pass does?

The loss is L = sum_i u_i y_i with random u over every output, so that each output has a gradient
of its own size. An element x is moved a little both ways, and (L(x + h) - L(x - h)) / 2h is
compared with x'. The truncation error is h^2 L'''/6 and the rounding error about 1e-16 |L| / h:
h = 6e-6 |x|, the cube root of 1e-16, makes both about 1e-10.

A kink (ReLU at 0, two equal values under a max) between x - h and x + h spoils the difference, so
where it disagrees a smaller h is tried: a near kink falls out of the shrinking interval, while a
wrong gradient stays wrong. At an exact kink no derivative exists: there x' must lie between the
slopes to the left and to the right, and the element is counted as a kink.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.verify.comparison import Comparison, compare
from bptrain.verify.parity import differentiable, upstream

STEP = 6e-6
SHRINKING = (1.0, 1e-1, 1e-2, 1e-3)  # factors on STEP
TOLERANCE = 1e-7  # a hundred times the error above; a missing term errs by 1e-2 or more
ROUNDING = 1e-15  # of a loss that sums many terms, relative to its size
RESOLUTION = 1e-4  # of the scale: a step whose rounding is coarser could excuse a wrong gradient
MOVED_THROUGH_ALL = 4  # elements of each tensor
JUMP = 1e-4  # slopes left and right that differ by more are a kink's, not a curve's


@dataclass(frozen=True)
class Slope:
    """The numeric derivative at one element."""

    value: float
    is_kink: bool = False


def numeric_slope(
    loss: Callable[[], Tensor], element: Tensor, ours: float, scale: float, terms: float
) -> Slope:
    """Return the derivative of `loss` by `element`, a float64 scalar view.

    The element is moved and restored.

    ours   the gradient to compare with: a smaller step is tried only while it disagrees
    scale  the size of the gradients around it, which errors are relative to
    terms  the size of what the loss sums up, of which each number has its rounding
    """
    x = element.item()

    def at(value: float) -> float:
        element.fill_(value)
        return loss().item()

    try:
        slope = 0.0
        for factor in SHRINKING:
            h = factor * STEP * max(1.0, abs(x))
            above, below = at(x + h), at(x - h)
            slope = (above - below) / (2 * h)
            rounding = ROUNDING * max(abs(above), abs(below), terms) / h
            error = abs(slope - ours)
            if error <= TOLERANCE * scale:
                return Slope(slope)
            if error <= TOLERANCE * scale + rounding:
                return Slope(ours)  # no difference is larger than the rounding of the loss
            if rounding > RESOLUTION * scale:
                break
        h = STEP * SHRINKING[1] * max(1.0, abs(x))
        middle = at(x)
        left, right = (middle - at(x - h)) / h, (at(x + h) - middle) / h
    finally:
        element.fill_(x)
    low, high = sorted((left, right))
    margin = JUMP * scale
    is_kink = high - low > margin and low - margin <= ours <= high + margin
    return Slope(slope, is_kink)


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
              at a kink, where nothing can be compared, are given as ours
    """
    gradient = ours.detach().clone(memory_format=torch.contiguous_format)
    flat, flat_gradient = tensor.detach().view(-1), gradient.view(-1)
    scale = max(float(gradient.abs().max()) if gradient.numel() else 0.0, 1e-300)
    kinks = 0
    for i in range(flat.numel()) if elements is None else elements:
        slope = numeric_slope(loss, flat[i], flat_gradient[i].item(), scale, terms)
        kinks += slope.is_kink
        if not slope.is_kink:
            flat_gradient[i] = slope.value
    return gradient, kinks


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

    def chosen(self, gradient: Tensor, generator: torch.Generator) -> list[int] | None:
        """Return the flat indices to move, the largest gradient's among them; None for all."""
        if self.elements is None or gradient.numel() <= self.elements:
            return None
        drawn = torch.randperm(gradient.numel(), generator=generator)[: self.elements - 1].tolist()
        return [*drawn, int(gradient.abs().argmax())]


ALL_ELEMENTS = Sampling(elements=None)


def gradcheck(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    tensors: Mapping[str, Tensor],
    names: list[str],
    seed: int,
) -> list[Comparison]:
    """Return a comparison for each named tensor's gradient with finite differences.

    function   takes the named tensors, in float64, and returns the named outputs
    """
    return [found for found, _ in differences(function, tensors, names, seed, ALL_ELEMENTS)]


def differences(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    tensors: Mapping[str, Tensor],
    names: list[str],
    seed: int,
    sampling: Sampling,
) -> Iterator[tuple[Comparison, int]]:
    """Yield the worst comparison of each named tensor's gradient, and how many were at a kink."""
    # own memory for each element: an expanded input cannot be moved one element at a time
    leaves = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    for name in names:
        leaves[name].requires_grad_()
    outputs = differentiable(function(leaves))
    grads = upstream(outputs, seed)
    torch.autograd.backward(list(outputs.values()), list(grads.values()))

    def loss() -> Tensor:
        with torch.no_grad():
            moved = function(leaves)
            return torch.stack([(moved[name] * grad).sum() for name, grad in grads.items()]).sum()

    terms = sum(float((outputs[name].detach() * grad).abs().sum()) for name, grad in grads.items())
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        leaf = leaves[name]
        ours = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        elements = sampling.chosen(ours, generator)
        numeric, kinks = numeric_gradient(loss, leaf, ours, elements, terms)
        found = [compare(name, ours, numeric)]
        if elements is not None:
            found += [
                along_a_direction(name, loss, leaf, ours, generator, terms)
                for _ in range(sampling.directions)
            ]
        yield max(found, key=lambda each: each.relative_error), kinks


def along_a_direction(
    name: str,
    loss: Callable[[], Tensor],
    tensor: Tensor,
    ours: Tensor,
    generator: torch.Generator,
    terms: float,
) -> Comparison:
    """Return the comparison of <x', v> with the slope of the loss along a random unit vector v."""
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    v = (drawn / drawn.norm()).to(tensor.device)
    start = tensor.detach().clone()
    distance = torch.zeros((), dtype=torch.float64)

    def loss_along() -> Tensor:
        tensor.detach().copy_(start + distance.item() * v)
        return loss()

    along = float((ours * v).sum())
    scale = float(ours.norm()) / max(ours.numel(), 1) ** 0.5  # what <x', v> amounts to
    slope = numeric_slope(loss_along, distance, along, max(scale, 1e-300), terms)
    tensor.detach().copy_(start)
    numeric = along if slope.is_kink else slope.value
    error = abs(along - numeric) / max(scale, 1e-300)
    return Comparison(name, None, along, numeric, error)
