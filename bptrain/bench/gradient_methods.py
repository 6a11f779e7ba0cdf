"""Why backpropagation: the gradient of a loss by all P weights, in three ways.

    backward            one forward and one backward pass, by the operations of bptrain
    finite differences  (L(w + h) - L(w - h)) / 2h for each weight: 2 P forward passes of bptrain
    forward mode        the derivative along each weight's axis: P forward passes with tangents,
                        of the torch.nn counterpart by torch.func.jvp

All three compute in float64, where finite differences are exact enough to be compared.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain.bench.power_law import PowerLaw, fit_power_law
from bptrain.bench.subject import Subject
from bptrain.nn.convert import torch_copy

BACKWARD, DIFFERENCES, FORWARD_MODE = "backward", "finite differences", "forward mode"
STEP = 1e-6  # of a weight of size 1, in float64: the error of the slope is about 1e-9 of it
MEASURED_S = 0.05  # a short measurement is repeated for that long
MOST_S = 5.0  # for one method at one size
FEWEST_SIZES = 3

Progress = Callable[[str], None]


class Timed(NamedTuple):
    """A gradient, flattened over all weights, and the seconds that it took."""

    gradient: Tensor
    seconds: float


@dataclass(frozen=True)
class SizeResult:
    """The methods at one size of the model.

    width       factor on the width of the config's model
    seconds     of each method
    difference  of each method's gradient from backward's, relative to its norm
    """

    width: float
    parameters: int
    seconds: dict[str, float]
    difference: dict[str, float]

    def over_backward(self, method: str) -> float:
        """Return how many times as long as backward a method takes, over the number of weights."""
        return self.seconds[method] / self.seconds[BACKWARD] / self.parameters


@dataclass(frozen=True)
class MethodsResults:
    """The methods on growing networks.

    parameters  of the config's own model
    laws        how the seconds of each method grow with the number of weights
    left_out    methods or sizes that were not measured, and why
    """

    name: str
    machine: str
    parameters: int
    sizes: list[SizeResult]
    laws: dict[str, PowerLaw]
    left_out: dict[str, str]


class InFloat64:
    """The loss of a batch as a function of the weights, without dropout."""

    def __init__(self, subject: Subject) -> None:
        exact = subject.without_dropout().in_float64()
        self.model, self.loss = exact.model, exact.loss
        self.inputs, self.targets = exact.inputs, exact.targets
        self.weights = [each for each in self.model.parameters() if each.requires_grad]

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(each.numel() for each in self.weights)

    def value(self) -> Tensor:
        """Return the loss."""
        computed: Tensor = self.loss(self.model(*self.inputs), *self.targets)
        return computed


def by_backward(problem: InFloat64) -> Tensor:
    """Return the gradient from one backward pass."""
    for weight in problem.weights:
        weight.grad = None
    problem.value().backward()
    grads = [w.new_zeros(w.shape) if w.grad is None else w.grad for w in problem.weights]
    return torch.cat([each.flatten() for each in grads])


@torch.no_grad()
def by_finite_differences(problem: InFloat64) -> Tensor:
    """Return the gradient from two losses for each weight."""
    slopes = []
    for weight in problem.weights:
        numbers = weight.view(-1)
        for place, value in enumerate(numbers.tolist()):
            step = STEP * max(1.0, abs(value))
            numbers[place] = value + step
            above = problem.value().item()
            numbers[place] = value - step
            slopes.append((above - problem.value().item()) / (2 * step))
            numbers[place] = value
    return torch.tensor(slopes, dtype=torch.float64)


class ForwardMode:
    """Directional derivatives of the torch.nn counterpart, one for each weight."""

    def __init__(self, problem: InFloat64) -> None:
        self.problem = problem
        self.model, self.loss = torch_copy(problem.model), torch_copy(problem.loss)
        self.weights = {
            name: each.detach()
            for name, each in self.model.named_parameters()
            if each.requires_grad
        }

    def derivatives(self) -> Iterator[Tensor]:
        """Yield the derivative by each weight."""
        for name, weight in self.weights.items():
            for place in range(weight.numel()):
                direction = torch.zeros_like(weight)
                direction.view(-1)[place] = 1
                with warnings.catch_warnings():  # at the first call torch warns of its own code
                    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
                    slope: Tensor = torch.func.jvp(self._loss_by(name), (weight,), (direction,))[1]
                yield slope

    def gradient(self) -> Tensor:
        """Return all of them."""
        return torch.stack(list(self.derivatives()))

    def _loss_by(self, name: str) -> Callable[[Tensor], Tensor]:
        def loss(weight: Tensor) -> Tensor:
            buffers = {
                key: each.clone() for key, each in self.model.named_buffers()
            }  # it may write
            given = {**buffers, **self.weights, name: weight}
            outputs = torch.func.functional_call(self.model, given, self.problem.inputs)
            computed: Tensor = self.loss(outputs, *self.problem.targets)
            return computed

        return loss


def measure_size(subject: Subject, width: float, left_out: dict[str, str]) -> SizeResult | None:
    """Return the methods' times, or None if finite differences would take too long.

    left_out  takes up why forward mode is not measured
    """
    problem = InFloat64(subject)
    with torch.no_grad():
        problem.value()
        forward_s = _timed(problem.value).seconds
    if 2 * problem.parameters * forward_s > MOST_S:
        return None
    gradients = {BACKWARD: _timed(lambda: by_backward(problem))}
    gradients[DIFFERENCES] = _timed(lambda: by_finite_differences(problem))
    forward_mode = None if FORWARD_MODE in left_out else _forward_mode(problem, left_out)
    if forward_mode is not None:
        gradients[FORWARD_MODE] = forward_mode
    right = gradients[BACKWARD].gradient
    return SizeResult(
        width,
        problem.parameters,
        {name: each.seconds for name, each in gradients.items()},
        {
            name: float((each.gradient - right).norm() / right.norm().clamp_min(1e-30))
            for name, each in gradients.items()
        },
    )


def _forward_mode(problem: InFloat64, left_out: dict[str, str]) -> Timed | None:
    """Return forward mode's gradient, or None if torch has no forward mode for the model."""
    mode = ForwardMode(problem)
    try:
        next(mode.derivatives())  # the first one imports what torch needs for it
        once = _timed(lambda: next(mode.derivatives()))
    except RuntimeError as error:  # torch lacks it for some of its kernels
        left_out[FORWARD_MODE] = str(error).strip().partition("\n")[0]
        return None
    return _timed(mode.gradient) if once.seconds * problem.parameters <= 2 * MOST_S else None


def laws_of(sizes: list[SizeResult]) -> dict[str, PowerLaw]:
    """Return how each method's time grows with the number of weights."""
    laws = {}
    for method in (BACKWARD, DIFFERENCES, FORWARD_MODE):
        there = [each for each in sizes if method in each.seconds]
        if len({each.parameters for each in there}) >= 2:
            seconds = [each.seconds[method] for each in there]
            laws[method] = fit_power_law([each.parameters for each in there], seconds)
    return laws


def _timed(work: Callable[[], Any]) -> Timed:
    """Return what it computes, and the least seconds it takes."""
    least, began_s = float("inf"), time.perf_counter()
    while True:
        started_s = time.perf_counter()
        result = work()
        now_s = time.perf_counter()
        least = min(least, now_s - started_s)
        if now_s - began_s > MEASURED_S:
            return Timed(result.detach(), least)
