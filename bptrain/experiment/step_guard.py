"""What a run does about a step that is not finite: stop, skip it, or roll the weights back.

The update of such a step, and of those after it, is withheld on the device (train/withholding.py),
so that nothing waits for it: it is noticed when the steps are read, for a log line or a checkpoint.
What else a step begins with is kept here until then. Running statistics, which a training step does
not read, are those of the last time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from bptrain import tags
from bptrain.errors import NonFiniteError, StorageError
from bptrain.experiment.build import Experiment
from bptrain.experiment.evaluation import HINT
from bptrain.experiment.failed_step import (
    FailedStep,
    columns_of,
    samples_of,
    write_failed_step,
)
from bptrain.experiment.non_finite import Failure, first_failure
from bptrain.experiment.saved_run import CHECKPOINTS
from bptrain.monitor.finding import Finding
from bptrain.monitor.run_log import RunLog
from bptrain.ops.over_processes import with_local_sums
from bptrain.rundir.checkpoint import newest_valid
from bptrain.rundir.training_state import MODEL
from bptrain.stateful import PlainState, Stateful, Tree
from bptrain.train.evaluate import Reading, StepWindow
from bptrain.train.loop import Position, StepReport, steps_of
from bptrain.train.states import CarriesState, Generators

MOST_STEPS = 10**12  # of a run, as its config allows
MOST_STARTS = 100  # steps whose beginnings are kept: one wait for the device in as many steps
MOST_SKIPPED = 10  # steps in a row
MOST_ROLLBACKS = 3  # without a log line or checkpoint in between whose steps are all finite
ROLLED_BACK = (MODEL, "optimizer", "precision", "average", "carried")  # states


class StepStart(NamedTuple):
    """What a step begins with besides weights and buffers."""

    position: Position
    generators: Tree
    carried: Tree


class Earlier(NamedTuple):
    """The states that a run is rolled back to, by name, and the name of their checkpoint."""

    name: str
    states: Mapping[str, Tree]


class Counts(PlainState):
    """How often a run continued after a step that was not finite.

    in_a_row  how often at last without progress
    """

    skipped: int = Field(ge=0, le=MOST_STEPS)
    rollbacks: int = Field(ge=0, le=MOST_STEPS)
    in_a_row: int = Field(ge=0, le=MOST_STEPS)


class StepGuard:
    """Acts on steps that are not finite, as `train.on_non_finite` says."""

    def __init__(
        self, experiment: Experiment, run_dir: Path, log: RunLog, window: StepWindow
    ) -> None:
        self.experiment, self.run_dir, self.log, self.window = experiment, run_dir, log, window
        self.policy = experiment.config.train.on_non_finite
        self.withholding = experiment.update.withholding
        self.withholding.each_step = self.policy == "skip"
        self.counts = Counts(skipped=0, rollbacks=0, in_a_row=0)
        self.starts: list[StepStart] = []  # since the steps were last examined
        self.buffers: list[Tensor] = []  # as they were then

    def state(self) -> dict[str, Any]:
        """Return the counts."""
        return self.counts.model_dump()

    def restore(self, state: Tree) -> None:
        """Continue from the counts of a checkpoint."""
        self.counts = Counts.read(state)

    @property
    def values(self) -> dict[str, float]:
        """The counts by tag, of what the run does."""
        counts = {
            "skip": {tags.SKIPPED_STEPS: self.counts.skipped},
            "rollback": {tags.ROLLBACKS: self.counts.rollbacks},
        }
        return {tag: float(count) for tag, count in counts.get(self.policy, {}).items()}

    def before_step(self, position: Position, states: Mapping[str, Stateful]) -> None:
        """Keep what the step after `position` begins with; see `examined` for errors.

        states  of the run, by name
        """
        model = self.experiment.model
        if self.policy == "skip":
            self.starts.clear()
        elif len(self.starts) == MOST_STARTS:
            if self.withholding.withheld:
                self.examined(position.step, states)
            self.starts.clear()
        if not self.starts:
            self.buffers = [each.clone() for each in model.buffers()]
        carried = model.carried_state() if isinstance(model, CarriesState) else None
        generators = Generators(self.experiment.device).state()
        self.starts.append(StepStart(position, generators, carried))

    def examined(
        self, step: int, states: Mapping[str, Stateful], others: Sequence[Tensor] = ()
    ) -> Reading | None:
        """Return the window's values, and `others`; None if it has none, or was rolled back.

        step    the last one
        states  of the run, by name

        Raises NonFiniteError if the run ends with such a step.
        """
        if not self.window.losses:
            return None
        reading = self.window.read(others)
        failure = first_failure(self.experiment.update, reading.losses, reading.norms, step)
        if failure is not None:
            if self.policy != "rollback":
                raise self.explained(failure)
            self._roll_back(failure, states)
        elif self.policy == "rollback":
            self._count(in_a_row=0)
        self.starts.clear()
        return reading if failure is None else None

    def counts_in(self, report: StepReport) -> bool:
        """Tell whether a step is to be logged: one that is skipped is not, and is undone.

        Raises NonFiniteError for too many in a row.
        """
        if not report.change.is_skipped:
            if self.policy == "skip" and self.counts.in_a_row:
                self._count(in_a_row=0)
            return True
        norms = [report.change.norms.tolist()]
        update, step = self.experiment.update, report.position.step
        failure = first_failure(update, [float(report.loss)], norms, step)
        assert failure is not None, "it was skipped for this"
        if self.counts.in_a_row == MOST_SKIPPED:
            raise self.explained(failure, f"; {MOST_SKIPPED} steps before it were skipped")
        self._undo(self.starts[-1])
        skipped = self.counts.skipped + 1
        self._count(skipped=skipped, in_a_row=self.counts.in_a_row + 1)
        self.log.console.print_line(f"step skipped: {failure.what} ({skipped:,} in all)")
        return False

    def _count(self, **counts: int) -> None:
        self.counts = self.counts.model_copy(update=counts)

    def _undo(self, start: StepStart) -> None:
        """Set what a forward pass changes, but for the generators, as it was before the step."""
        model = self.experiment.model
        for buffer, before in zip(model.buffers(), self.buffers, strict=True):
            buffer.copy_(before)
        if isinstance(model, CarriesState):
            model.carry_on(start.carried)

    def _roll_back(self, failure: Failure, states: Mapping[str, Stateful]) -> None:
        """Set weights and optimizer as at the newest checkpoint; the batches since are over."""
        if self.counts.in_a_row == MOST_ROLLBACKS:
            raise self.explained(failure, f"; it was rolled back {MOST_ROLLBACKS} times in a row")
        newest = self._newest()
        for name in ROLLED_BACK:
            if name in states:
                states[name].restore(newest.states[name])
        total = self.counts.rollbacks + 1
        self._count(rollbacks=total, in_a_row=self.counts.in_a_row + 1)
        self.withholding.release()
        self.window.restart()
        self.log.console.print_line(
            f"rolled back to the weights of {newest.name}: {failure.what} ({total:,} in all)"
        )

    def _newest(self) -> Earlier:
        """Return the states of the newest valid checkpoint; rank 0 reads it for all."""
        path, saved, _ = newest_valid(self.run_dir / CHECKPOINTS)
        states = {name: saved.states[name] for name in ROLLED_BACK if name in saved.states}
        return self.experiment.ranks.from_first(Earlier(path.name, states))

    def explained(self, failure: Failure, given_up: str = "") -> NonFiniteError:
        """Save a step, repeat it, and return the error that says what was found."""
        what = failure.what + given_up
        start = next((s for s in self.starts if s.position.step == failure.step - 1), None)
        found = None
        hint = HINT
        if start is not None:
            start = self.of_all(start)
            self._undo(start)
            failed = self._failed_step(failure, start)
            found = self._saved_and_searched(failed)
            hint = f"`bptrain replay {self.run_dir}` repeats the step; {HINT}"
        if found is None:
            return NonFiniteError(what, failure.why, hint)
        for line in found.lines:
            self.log.console.print_line(line)
        return NonFiniteError(what, found.sentence, hint)

    def of_all(self, start: StepStart) -> StepStart:
        """Return a step's beginning with the state of all texts, for which every process asks."""
        carried = self.experiment.carried
        return start if carried is None else start._replace(carried=carried.of_all(start.carried))

    def _failed_step(self, failure: Failure, start: StepStart) -> FailedStep:
        experiment = self.experiment
        update, source = experiment.update, experiment.batches
        steps = steps_of(source, update.batches, experiment.total_steps, start.position)
        position, batches = next(steps)
        return FailedStep(
            failure,
            batches,
            samples_of(source, position, len(batches)),
            columns_of(experiment.dataset.prepared),
            start.generators,
            start.carried,
            update.precision.state(),
        )

    def _saved_and_searched(self, failed: FailedStep) -> Finding | None:
        experiment, console = self.experiment, self.log.console
        try:
            write_failed_step(
                self.run_dir, failed, experiment.model.state_dict(), experiment.ranks.whole
            )
        except StorageError as error:  # must not hide why the run ends
            console.print_line(f"the step is not saved: {error.what}: {error.why}")
        if experiment.ranks.shares_weights:  # the others do not repeat it
            return None
        precision = experiment.update.precision
        try:
            with with_local_sums():  # the other processes of a job do not repeat it
                return failed.search(experiment.model, experiment.loss_function, precision)
        except (torch.OutOfMemoryError, MemoryError):
            console.print_line("there is too little memory to look for the cause of it")
            return None
