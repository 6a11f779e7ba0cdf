"""A program whose entries are shown to an observer as they run: to measure, check or explain them.

The observed program computes the same numbers; the program itself stays as it is, and costs nothing
where nobody observes. Compiled code, and a loss in chunks of samples, give other numbers, to
rounding: an observed program runs beside those, and what it leaves behind does not count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor, nn

from bptrain.tape.batch import Batch, tensors_of
from bptrain.tape.calls import Entry, Gradients, Like, Values
from bptrain.tape.program import Program, Run
from bptrain.tape.recorder import OffTapeError
from bptrain.tape.recording import names_of, recorded, rewind
from bptrain.tape.run import Completed, Linear
from bptrain.tape.run import Run as AnyRun
from bptrain.tape.segments import Segment
from bptrain.tape.state import hooked, restore, state_of


class Observer(Protocol):
    """Whoever is shown the entries of a run. It must not change what it is shown.

    With checkpointing, a segment's entries are shown again in its backward pass.
    """

    def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
        """See an entry after its forward pass.

        values  by number: those that it read, and its outputs
        saved   what it keeps for its backward pass, None if no gradient passes through it
        """
        ...

    def before_backward(self, entry: Entry, upstream: Sequence[Tensor | None], saved: Any) -> None:
        """See the gradients by each of an entry's outputs, None where the loss does not read one.

        They are complete: every reader of the output has added its part.
        """
        ...

    def after_backward(self, entry: Entry, gradients: Gradients) -> None:
        """See an entry after its backward pass.

        gradients  by number: its part is in those by the values that it read
        """
        ...


@dataclass(slots=True)
class ObservedEntry:
    """An entry that is shown to an observer."""

    entry: Entry
    observer: Observer

    @property
    def layer(self) -> str:
        """The name of the module that called it."""
        return self.entry.layer

    @property
    def returned_by(self) -> list[tuple[str, int]]:
        """The modules that returned an output, each with the output's number."""
        return self.entry.returned_by

    @property
    def reads(self) -> list[int]:
        """The numbers of the values it reads."""
        return self.entry.reads

    @property
    def outputs(self) -> tuple[int | None, ...]:
        """The number of each output."""
        return self.entry.outputs

    @property
    def likes(self) -> tuple[Like | None, ...]:
        """What the outputs are like."""
        return self.entry.likes

    @property
    def structure(self) -> tuple[Any, ...]:
        """What it computes from which values."""
        return self.entry.structure

    @property
    def changes(self) -> int | None:
        """The number of the value that it changes in place."""
        return self.entry.changes

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return self.entry.draws

    def forward(self, values: Values) -> Any:
        """Run the entry forward, and show it."""
        saved = self.entry.forward(values)
        self.observer.after_forward(self.entry, values, saved)
        return saved

    def backward(self, gradients: Gradients, saved: Any) -> None:
        """Show the upstream gradients, run the entry backward, and show it."""
        upstream = [None if number is None else gradients[number] for number in self.outputs]
        self.observer.before_backward(self.entry, upstream, saved)
        self.entry.backward(gradients, saved)
        self.observer.after_backward(self.entry, gradients)


def observed(program: Program, observer: Observer) -> Program:
    """Return the program with each entry shown to the observer, those within segments too."""
    entries = [_observed(entry, observer) for entry in program.entries]
    return program.with_entries(entries, program.boundary)


class BesideRun:
    """A run whose results count, and one of the same step that is shown to an observer.

    shown  adds to no parameter's `.grad`
    """

    def __init__(self, run: AnyRun, shown: Run, modules: list[nn.Module]) -> None:
        self.run, self.shown, self.modules = run, shown, modules

    def forward(self) -> Any:
        """Return the model's outputs."""
        before = state_of(self.modules)
        self.shown.forward()
        self.shown.loss()
        restore(self.modules, before)
        return self.run.forward()

    def loss(self) -> Tensor:
        """Return the loss of the outputs."""
        return self.run.loss()

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add the gradient of `minimized(loss)` by each parameter to its `.grad`, once."""
        self.shown.backward(minimized)
        self.run.backward(minimized, completed)


def _observed(entry: Entry, observer: Observer) -> Entry:
    if isinstance(entry, Segment):
        return replace(entry, entries=[_observed(each, observer) for each in entry.entries])
    return ObservedEntry(entry, observer)


def observed_run(
    model: nn.Module,
    loss: Callable[..., Tensor],
    inputs: tuple[Any, ...],
    targets: tuple[Any, ...],
    observer: Observer,
) -> Run:
    """Return a step on a batch whose operations are shown one by one: none is fused.

    It is recorded for this one run, and not compared with autograd's. Raises OffTapeError where it
    cannot be recorded.
    """
    names = names_of(model, loss)
    if name := hooked(names):
        raise OffTapeError(f"{name} has hooks, which the tape does not call")
    modules, batch = list(names), Batch(inputs, targets)
    before = state_of(modules)
    recording = recorded(model, loss, batch, modules)
    rewind(recording, modules, before)
    return observed(recording.program, observer).run(tensors_of(batch))
