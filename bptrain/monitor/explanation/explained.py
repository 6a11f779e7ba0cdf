"""A step that is explained: run by the tape, collected, and explained link by link."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from bptrain.monitor.explanation.collecting import Collector
from bptrain.monitor.explanation.links import Link, ThroughTime, Window
from bptrain.monitor.explanation.through_time import through_time
from bptrain.monitor.explanation.windows import window_of
from bptrain.tape import OffTapeError, Run, Step
from bptrain.tape.calls import Entry
from bptrain.tape.observing import ObservedEntry
from bptrain.tape.printing import Text
from bptrain.tape.program import Program
from bptrain.tape.program import Run as ProgramRun
from bptrain.tape.run import Completed, Linear

LONGEST_LINE = 160  # of the tape's Python; a constant may be written out in it


class StepPasses(NamedTuple):
    """What a step did, in the order of its forward pass."""

    links: tuple[Link, ...]
    windows: tuple[Window, ...]
    scans: tuple[ThroughTime, ...]


class ExplainedStep:
    """An engine that collects its first step on the tape, operation by operation.

    passes  what that step did, once its backward pass is done

    Raises OffTapeError from `begin` where the step does not run on the tape.
    """

    passes: StepPasses | None = None

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        self.model, self.loss_function = model, loss
        self._step = Step(model, loss, fuses=False)

    def begin(self, inputs: tuple[Any, ...], targets: tuple[Any, ...]) -> Run:
        """Return the step on a batch, before its forward pass."""
        collector = Collector() if self.passes is None else None  # a line search begins again
        run = self._step.begin(inputs, targets, observer=collector)
        if not isinstance(run, ProgramRun):
            raise OffTapeError("; ".join(self._step.reasons))
        return run if collector is None else _ExplainedRun(self, run, collector, inputs)

    def explain(self, program: Program, collector: Collector, inputs: int) -> None:
        """Explain a step whose backward pass is done, before its weights are updated.

        inputs  how many of the batch's tensors are the model's; the others are the loss's
        """
        names = self._names(program)
        batch = ["the sample"] * inputs + ["the target"] * (len(program.inputs) - inputs)
        origins = names | dict(zip(program.inputs, batch, strict=True))
        links = collector.links(origins, _python_of(program, names), program.boundary)
        passed = [seen for seen in collector.seen if seen.place is not None]
        windows, scans = [], []
        for link, seen in zip(links, passed, strict=True):
            if window := window_of(seen, link.number, link.title, collector.room):
                windows.append(window)
            if scan := through_time(seen, link.number, link.title, collector.room):
                scans.append(scan)
        self.passes = StepPasses(links, tuple(windows), tuple(scans))

    def _names(self, program: Program) -> dict[int, str]:
        """Return the names of parameters and buffers by number."""
        named: dict[int, str] = {}
        for prefix, module in (("", self.model), ("loss.", self.loss_function)):
            if isinstance(module, nn.Module):
                tensors = [*module.named_parameters(), *module.named_buffers()]
                named |= {id(each): f"{prefix}{name}" for name, each in tensors}
        fixed = program.fixed.items()
        return {number: named[id(each)] for number, each in fixed if id(each) in named}


class _ExplainedRun:
    """A run that is explained once its backward pass is done: the update changes its weights."""

    def __init__(
        self, step: ExplainedStep, run: ProgramRun, collector: Collector, inputs: tuple[Any, ...]
    ) -> None:
        self.step, self.run, self.collector, self.inputs = step, run, collector, inputs
        self.forward, self.loss = run.forward, run.loss

    def backward(self, minimized: Linear, completed: Completed | None = None) -> None:
        """Add the gradients to the parameters' `.grad`, and explain the step."""
        self.run.backward(minimized, completed)
        program = self.run.program
        entries = [_unwrapped(each) for each in program.entries]
        tensors = sum(isinstance(each, Tensor) for each in self.inputs)
        self.step.explain(program.with_entries(entries, program.boundary), self.collector, tensors)


def _unwrapped(entry: Entry) -> Entry:
    return entry.entry if isinstance(entry, ObservedEntry) else entry


def _python_of(
    program: Program, names: Mapping[int, str]
) -> Callable[[Entry], tuple[list[str], list[str]]]:
    """Return what gives an entry's lines of the tape's Python, forward and backward."""
    lines = {id(entry): both for entry, *both in Text(program, names).by_entry()}

    def lines_of(entry: Entry) -> tuple[list[str], list[str]]:
        forward, backward = lines[id(entry)]
        return [*map(_cut, forward)], [*map(_cut, backward)]

    return lines_of


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
