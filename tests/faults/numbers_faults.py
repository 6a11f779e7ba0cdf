"""A NaN or an infinity injected into one number of a run, at one step.

    {"step": 7, "place": "forward", "name": "relu1", "value": "nan", "seed": 3}

`PLACES` says where: `name` is a module, a parameter, a buffer, or an optimizer's entry as in
`exp_avg:linear1.weight`. The seed determines the element of the tensor; torch's generators
are not used, so that the run's own random numbers stay the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import bptrain.experiment.session
import bptrain.tasks.accuracy
import bptrain.tasks.classification
from bptrain.tape import Engine
from bptrain.train.update import Update

Place = Callable[["Target"], Iterator[None]]


class Target:
    """What can be poisoned at a step: everything that the training loop is given."""

    def __init__(
        self, fault: dict[str, Any], model: nn.Module, loss: nn.Module, update: Update
    ) -> None:
        self.model, self.loss, self.update = model, loss, update
        self.name: str = fault["name"]
        self.value = float(fault["value"])
        self._random = Random(fault["seed"])

    def poison(self, tensor: Tensor, row: int | None = None) -> None:
        """Put the value into one number of a tensor, or of a row of it, in place."""
        with torch.no_grad():
            numbers = tensor.view(-1) if row is None else tensor[row].view(-1)
            numbers[self._random.randrange(len(numbers))] = self.value

    def poisoned(self, tensor: Tensor) -> Tensor:
        """Return a tensor with the value in one of its numbers."""
        changed = torch.zeros(tensor.numel(), dtype=torch.bool)
        changed[self._random.randrange(tensor.numel())] = True
        return tensor.masked_fill(changed.view(tensor.shape), self.value)

    def first_of(self, output: Any) -> Any:
        """Return what a layer returned, its first tensor poisoned."""
        if isinstance(output, PackedSequence):
            return output._replace(data=self.poisoned(output.data))
        if isinstance(output, tuple):
            return (self.first_of(output[0]), *output[1:])
        return self.poisoned(output)


def forward(target: Target) -> Iterator[None]:
    """Poison a layer's output."""
    layer = target.model.get_submodule(target.name)
    yield from once(
        lambda hook: layer.register_forward_hook(hook),
        lambda module, inputs, output: target.first_of(output),
    )


def backward(target: Target) -> Iterator[None]:
    """Poison the gradient by a layer's input."""

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        data = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
        data.register_hook(target.poisoned)

    layer = target.model.get_submodule(target.name)
    yield from once(lambda hook: layer.register_forward_pre_hook(hook), hook)


def gradient(target: Target) -> Iterator[None]:
    """Poison a parameter's gradient."""
    parameter = target.model.get_parameter(target.name)
    yield from once(lambda hook: parameter.register_hook(hook), target.poisoned)


def parameter(target: Target) -> Iterator[None]:
    """Poison a parameter; `name[3]` is its row 3."""
    name, _, row = target.name.partition("[")
    target.poison(target.model.get_parameter(name), int(row[:-1]) if row else None)
    yield


def buffer(target: Target) -> Iterator[None]:
    """Poison a buffer."""
    target.poison(target.model.get_buffer(target.name))
    yield


def optimizer(target: Target) -> Iterator[None]:
    """Poison the optimizer's state of a parameter; `name[3]` is row 3."""
    entry, _, name = target.name.partition(":")
    name, _, row = name.partition("[")
    held = target.update.optimizer.state[target.model.get_parameter(name)][entry]
    target.poison(held, int(row[:-1]) if row else None)
    yield


def average(target: Target) -> Iterator[None]:
    """Poison an averaged weight."""
    assert target.update.average is not None
    target.poison(target.update.average.tensors()[target.name])
    yield


def batch(target: Target) -> Iterator[None]:
    """Poison an input, or with the name `target` a target."""
    if target.name == "target":
        yield from once(
            lambda hook: target.loss.register_forward_pre_hook(hook),
            lambda module, given: (given[0], target.poisoned(given[1]), *given[2:]),
        )
    else:
        yield from once(
            lambda hook: target.model.register_forward_pre_hook(hook),
            lambda module, given: (target.poisoned(given[0]), *given[1:]),
        )


def carried(target: Target) -> Iterator[None]:
    """Poison the recurrent state that a language model carries between batches."""
    state = target.model.carried[True]
    h = state[0].clone()
    target.poison(h)
    target.model.carried[True] = (h, *state[1:])
    yield


PLACES: dict[str, Place] = {
    place.__name__: place
    for place in (
        *(forward, backward, gradient, parameter, buffer, optimizer, average, batch, carried),
    )
}


def once(register: Callable[[Any], Any], hook: Callable[..., Any]) -> Iterator[None]:
    """Call a hook once only: of accumulated batches the first one is poisoned."""
    calls: list[int] = []

    def first(*given: Any) -> Any:
        calls.append(1)
        return hook(*given) if len(calls) == 1 else None

    handle = register(first)
    try:
        yield
    finally:
        handle.remove()
    assert calls, "the fault was never injected"


def inject(fault: dict[str, Any], steps: int = 1) -> None:
    """Inject the fault at its step, or at that many steps from there."""
    real_fit = bptrain.experiment.session.fit
    place = contextmanager(PLACES[fault["place"]])

    def fit(engine: Engine, batches: Any, update: Update, *rest: Any) -> Any:
        reports = real_fit(engine, batches, update, *rest)
        step = rest[1].step
        while True:
            step += 1
            if fault["step"] <= step < fault["step"] + steps:
                with place(Target(fault, engine.model, engine.loss_function, update)):
                    report = next(reports, None)
            else:
                report = next(reports, None)
            if report is None:
                return
            yield report

    bptrain.experiment.session.fit = fit


def report_infinity() -> None:
    """Make the accuracy infinite, in training and evaluation."""
    for metric in (
        bptrain.tasks.accuracy.Accuracy,
        bptrain.tasks.classification.ClassificationMetric,
    ):
        real = metric.values

        def values(self: Any, sums: list[float], real: Any = real) -> dict[str, float]:
            return {**real(self, sums), "accuracy": float("inf")}

        metric.values = values
