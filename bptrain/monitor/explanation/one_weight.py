"""One weight, followed through the step: how much it contributes, checked by moving it.

Every value v that moves with the weight w has a movement dv/dw and a gradient dL/dv. The chain rule
says that their products, summed over elements that carry all of the movement, are dL/dw. Both are
measured on copies of the model in float64, by the tape that trains it: the movement from forward
passes with the weight a little lower and a little higher, the gradient from the backward pass.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from torch import Tensor, nn

from bptrain.monitor.explanation.collecting import operation_of, strongest
from bptrain.monitor.explanation.links import FollowedWeight, Index, Link, Moved
from bptrain.tape import OffTapeError, Step
from bptrain.tape.calls import Entry, Gradients, Values
from bptrain.tape.run import AutogradRun
from bptrain.tape.state import restore, state_of

DISTANCE = 1e-6  # that the weight is moved, relative to it or to 1


class Chosen(NamedTuple):
    """A weight, by the name of its parameter and its index there."""

    name: str
    at: Index


class Given(NamedTuple):
    """A step before it is run: the model and the loss, and their arguments."""

    model: nn.Module
    loss: nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Any, ...]


class Passed:
    """An observer that keeps the outputs and their gradients, entry by entry."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.outputs: list[list[Tensor | None]] = []
        self.gradients: dict[int, list[Tensor | None]] = {}  # by id of the entry

    def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
        """Keep the outputs."""
        self.entries.append(entry)
        self.outputs.append([None if n is None else values[n].clone() for n in entry.outputs])

    def before_backward(self, entry: Entry, upstream: Sequence[Tensor | None], saved: Any) -> None:
        """Keep the gradients by the outputs."""
        self.gradients[id(entry)] = [None if each is None else each.clone() for each in upstream]

    def after_backward(self, entry: Entry, gradients: Gradients) -> None:
        """See what the entry hands on, which is the gradient by an output of another."""


def strongest_weight(model: nn.Module, links: Sequence[Link]) -> Chosen | None:
    """Return the weight with the largest gradient in the first layer with a matrix of weights.

    None if no gradient reaches any weight.
    """
    names = dict(model.named_parameters())
    read = [
        each
        for link in links
        for each in link.arguments
        if each.name in names and each.gradient is not None and bool(each.gradient.any())
    ]
    for each in [*(each for each in read if each.value.dim() > 1), *read]:
        assert each.gradient is not None
        return Chosen(each.name, strongest(each.gradient, 1)[0])
    return None


def follow(given: Given, weight: Chosen, links: Sequence[Link]) -> FollowedWeight:
    """Follow a weight through a step, which is left as it is.

    Raises OffTapeError where the copy in float64 does not run on the tape.
    """
    copied = _Copy(given, weight)
    value = float(copied.parameter.detach()[weight.at])
    distance = DISTANCE * max(1.0, abs(value))
    runs = [copied.run(value + shift * distance) for shift in (-1, 1, 0)]
    (low, below), (high, above), (middle, at) = runs
    path = []
    for link, place in _matched(at.entries, links):
        gradients = at.gradients.get(id(at.entries[place]), [])
        moved = _moved(below.outputs[place], above.outputs[place], gradients, distance)
        if moved is not None:
            path.append(Moved(link.number, link.title, *moved))
    return FollowedWeight(
        *weight, value, copied.gradient, distance, losses=(low, middle, high), path=tuple(path)
    )


class _Copy:
    """A copy of a step in float64, which runs with other values of a weight.

    gradient  by the weight, in the last run
    """

    gradient = 0.0

    def __init__(self, given: Given, weight: Chosen) -> None:
        model, loss = (each.double() for each in deepcopy((given.model, given.loss)))
        self.parameter = dict(model.named_parameters())[weight.name]
        self.weight = weight
        self.inputs, self.targets = (
            tuple(map(_double, each)) for each in (given.inputs, given.targets)
        )
        self.step = Step(model, loss, fuses=False)
        self.modules = [*model.modules(), *loss.modules()]
        self.before = state_of(self.modules)

    def run(self, value: float) -> tuple[float, Passed]:
        """Return the loss with a value of the weight, and what passed."""
        restore(self.modules, self.before)  # the random generators too
        self.parameter.grad = None
        self.parameter.detach()[self.weight.at] = value
        passed = Passed()
        run = self.step.begin(self.inputs, self.targets, observer=passed)
        if isinstance(run, AutogradRun):
            raise OffTapeError("; ".join(self.step.reasons))
        run.forward()
        reached = float(run.loss().detach())
        run.backward(lambda loss: loss)
        assert self.parameter.grad is not None
        self.gradient = float(self.parameter.grad[self.weight.at])
        return reached, passed


def _double(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_float else value


def _matched(entries: Sequence[Entry], links: Sequence[Link]) -> Iterator[tuple[Link, int]]:
    """Yield each link with the place of its entry in the program of the copy.

    Under autocast the step has casts that the copy in float64 lacks.
    """
    place = 0
    for link in links:
        for found in range(place, len(entries)):
            entry = entries[found]
            if (entry.layer, operation_of(entry)) == (link.layer, link.operation):
                yield link, found
                place = found + 1
                break


def _moved(
    below: Sequence[Tensor | None],
    above: Sequence[Tensor | None],
    gradients: Sequence[Tensor | None],
    distance: float,
) -> tuple[Index, float, float, int, float] | None:
    """Return how the outputs of an entry move, as in `Moved`; None if they do not."""
    best: tuple[Index, float, float] | None = None
    movers, total = 0, 0.0
    for low, high, gradient in zip(below, above, gradients, strict=False):
        if low is None or high is None or gradient is None or not low.is_floating_point():
            continue
        movement = (high - low) / (2 * distance)
        products = movement * gradient
        movers += int((movement != 0).sum())
        total += float(products.sum())
        if best is None and bool(movement.any()):
            index = strongest(products if bool(products.any()) else movement, 1)[0]
            best = (index, float(movement[index]), float(gradient[index]))
    return None if best is None else (*best, movers, total)
