"""A recorded step, run: forward in order, backward in reverse.

A value is released after its last reader, and what an entry kept for its backward pass as soon as
that has read it. The gradients by a value that has several readers are added. Those by a parameter
are complete once the backward pass has come to its first reader: they are in `.grad` from then on.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from bptrain.tape.calls import Entry, Value, numbers_in
from bptrain.tape.packings import Packing
from bptrain.tape.run import Completed, Linear
from bptrain.tape.slots import Carried

Parameters = Sequence[tuple[int, nn.Parameter]]


@dataclass
class Program:
    """The entries of a training step.

    entries     in the order of the forward pass
    boundary    how many of them are the model's; the others are the loss's
    inputs      the numbers of the tensors of the batch: of the model's inputs, then of the targets
    fixed       what is the same in every run, by number: parameters, buffers, constants
    parameters  those that need a gradient, with their numbers
    outputs     what the model returns, `Value` where it is a tensor
    loss        the number of the loss
    values      how many values there are
    carried     attributes of modules that are read before the forward pass and assigned after it
    packings    what was made of the lengths of sequences, which another batch has others of
    shapes_read the values whose shape was read by code that is not bptrain's
    """

    entries: list[Entry]
    boundary: int
    inputs: list[int]
    fixed: dict[int, Tensor]
    parameters: Parameters
    outputs: Any
    loss: int
    values: int
    carried: Sequence[Carried] = ()
    packings: Sequence[Packing] = ()
    shapes_read: frozenset[int] = frozenset()

    @cached_property
    def released(self) -> list[list[int]]:
        """For each entry, the values that nothing reads after it."""
        return _released(self)

    @cached_property
    def completed(self) -> list[Parameters]:
        """For each entry, the parameters whose gradient is complete after its backward pass."""
        return _completed(self)

    @property
    def kept(self) -> set[int]:
        """The values that outlive the forward pass: the loss, the model's outputs, its state."""
        outputs = [each.number for each in tree_leaves(self.outputs) if isinstance(each, Value)]
        return {self.loss, *outputs, *(n for each in self.carried for n in each.written)}

    def with_entries(self, entries: list[Entry], boundary: int) -> "Program":
        """Return the program with other entries that compute the same values."""
        return replace(self, entries=entries, boundary=boundary)

    @property
    def structure(self) -> tuple[Any, ...]:
        """What is computed from which values, without the plain arguments, such as sizes."""
        return tuple(each.structure for each in self.entries)

    def run(self, tensors: Sequence[Tensor]) -> "Run":
        """Return a run on the tensors of a batch, before its forward pass."""
        values: list[Any] = [None] * self.values
        for number, tensor in self.fixed.items():
            values[number] = tensor
        for number, tensor in zip(self.inputs, tensors, strict=True):
            values[number] = tensor
        for each in self.carried:
            for number, tensor in zip(each.reads, each.slot.tensors, strict=True):
                values[number] = tensor
        return Run(self, values)


class Run:
    """One run of a program."""

    def __init__(self, program: Program, values: list[Any]) -> None:
        self.program, self.values = program, values
        self.saved: list[Any] = []  # what each entry kept for its backward pass

    def forward(self) -> Any:
        """Run the model's entries and return its outputs."""
        program = self.program
        self._execute(0, program.boundary)
        for each in program.carried:
            each.assign(self.values)
        if isinstance(program.outputs, Value):  # the usual case: the general one takes 10 us
            return self.values[program.outputs.number]
        return tree_map_only(Value, lambda each: self.values[each.number], program.outputs)

    def loss(self) -> Tensor:
        """Run the loss's entries and return the loss."""
        self._execute(self.program.boundary, len(self.program.entries))
        loss: Tensor = self.values[self.program.loss]
        return loss

    def _execute(self, first: int, last: int) -> None:
        values, saved, released = self.values, self.saved, self.program.released
        entries = self.program.entries
        with torch.no_grad(), without_autocast():
            for place in range(first, last):
                saved.append(entries[place].forward(values))
                for number in released[place]:
                    values[number] = None

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add the gradient of `minimized(loss)` by each parameter to its `.grad`."""
        loss = self.values[self.program.loss]
        # the slope of a linear function is its value at 1
        backpropagate(self.program, self.saved, minimized(torch.ones_like(loss)), completed)


def backpropagate(
    program: Program, saved: list[Any], upstream: Tensor, completed: Completed | None = None
) -> None:
    """Run the entries backward; `saved` is emptied on the way.

    completed  is told of each parameter that an entry reads, once its `.grad` is complete
    """
    gradients: list[Tensor | None] = [None] * program.values
    gradients[program.loss] = upstream
    given = {upstream.data_ptr()}
    with torch.no_grad(), without_autocast():
        for place in reversed(range(len(program.entries))):
            program.entries[place].backward(gradients, saved.pop())
            for number, parameter in program.completed[place]:
                gradient, gradients[number] = gradients[number], None
                if gradient is not None:
                    accumulate(parameter, gradient, given)
                if completed is not None:
                    completed(parameter)


def accumulate(parameter: nn.Parameter, gradient: Tensor, given: set[int]) -> None:
    """Add a gradient to a parameter's `.grad`; its memory becomes `.grad` if nobody else has it."""
    if gradient.dtype is not parameter.dtype:
        gradient = gradient.to(parameter.dtype)
    if parameter.grad is not None:
        parameter.grad += gradient
        return
    if gradient.stride() != parameter.stride() or gradient.data_ptr() in given:
        gradient = torch.empty_like(parameter).copy_(gradient)
    given.add(gradient.data_ptr())
    parameter.grad = gradient


def without_autocast() -> AbstractContextManager[object]:
    """Turn autocast off where it is on: the casts stand in the program."""
    if not torch._C._is_any_autocast_enabled():
        return nullcontext()
    stack = ExitStack()
    for kind in ("cpu", "cuda"):
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def last_readers(entries: Sequence[Entry]) -> dict[int, int]:
    """Return, for each value, the place of the last entry that reads or writes it."""
    return {
        number: place
        for place, entry in enumerate(entries)
        for number in (*entry.reads, *numbers_in(entry.outputs))
    }


def _released(program: Program) -> list[list[int]]:
    """Return, for each entry, the values that nothing reads after it."""
    released: list[list[int]] = [[] for _ in program.entries]
    for number, place in last_readers(program.entries).items():
        if number not in program.kept:
            released[place].append(number)
    return released


def _completed(program: Program) -> list[Parameters]:
    """Return, for each entry, the parameters that it is the first to read."""
    first = {
        number: place
        for place, entry in reversed([*enumerate(program.entries)])
        for number in entry.reads
    }
    completed: list[list[tuple[int, nn.Parameter]]] = [[] for _ in program.entries]
    for number, parameter in program.parameters:
        if number in first:
            completed[first[number]].append((number, parameter))
    return [tuple(each) for each in completed]
