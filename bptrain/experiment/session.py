"""A run between its first step and its last: log, evaluate, save, resume."""

from collections.abc import Iterator
from contextlib import nullcontext
from math import isfinite
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

from torch import Tensor

from bptrain import tags
from bptrain.errors import CheckpointError, InterruptedRun, shorten
from bptrain.experiment.best_state import best_by, ranking_of
from bptrain.experiment.board_pictures import is_drawn_after, plane_pictures, write_graph
from bptrain.experiment.build import Experiment
from bptrain.experiment.data_facts import data_facts
from bptrain.experiment.diagnosis import logged_before, setup_of
from bptrain.experiment.evaluation import evaluate_split
from bptrain.experiment.non_finite import refuse_state, refuse_weights
from bptrain.experiment.progress import Progress
from bptrain.experiment.step_guard import StepGuard
from bptrain.monitor.diagnosis import Diagnosis
from bptrain.monitor.flow_pictures import flow_pictures, flow_pictures_are_due
from bptrain.monitor.overhead import Overhead
from bptrain.monitor.run_log import RunLog
from bptrain.monitor.step_monitor import StepMonitor
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.rundir.checkpoint import prune, write_checkpoint
from bptrain.rundir.training_state import MODEL, TrainingState
from bptrain.stateful import Stateful
from bptrain.tape.learning_rules.step import StepByRule
from bptrain.train.angles import Angles
from bptrain.train.evaluate import StepWindow
from bptrain.train.loop import Position, StepReport, fit
from bptrain.train.memory import used_mb
from bptrain.train.precision import refuse_lost_scale
from bptrain.train.sharding import optimizer_state
from bptrain.train.signals import StopNow, StopRequest
from bptrain.train.states import Generators, ModelState

MAY_BEGIN_NOW = ("schedule", "early_stopping", "monitor")  # may be missing in the checkpoint


@runtime_checkable
class ObservesLoss(Protocol):
    """Something that depends on the validation loss: a plateau schedule."""

    def observe(self, loss: float) -> object:
        """Record the loss of an evaluation."""
        ...


class Session:
    """A run in progress: its experiment, its position, and all its states by name."""

    def __init__(
        self, experiment: Experiment, checkpoints: Path, log: RunLog, stop: StopRequest
    ) -> None:
        self.experiment, self.checkpoints, self.log, self.stop = experiment, checkpoints, log, stop
        self.ranks = experiment.ranks
        rule = experiment.config.train.early_stopping
        problem = experiment.dataset.problem
        self.best_by = best_by(experiment.config, problem)
        self.early_stopping = None
        if rule is not None:
            larger_is_better = ranking_of(rule.metric, problem).larger_is_better
            self.early_stopping = rule.build(larger_is_better)
        self.window = StepWindow(experiment.training_metric, experiment.device)
        self.engine = WatchedEngine(experiment.engine)
        config = experiment.config.monitor
        self.monitor = StepMonitor(
            self.engine,
            experiment.update.gradients,
            config.level,
            config.max_overhead,
            self.log.console.print_line,
        )
        self.overhead = Overhead(experiment.device)
        self.angles = None
        if isinstance(experiment.engine, StepByRule):
            update = experiment.update
            self.angles = Angles(experiment.engine, update.gradients, update.precision)
        self.progress = Progress(
            len(experiment.dataset.train), len(experiment.batches), experiment.update.batches
        )
        self.guard = self._guard()
        self.diagnosis = Diagnosis(setup_of(experiment.config))
        self.states = self._states()

    def _guard(self) -> StepGuard:
        """Return what acts on steps that are not finite."""
        return StepGuard(self.experiment, self.checkpoints.parent, self.log, self.window)

    def _states(self) -> dict[str, Stateful]:
        """Return all that a checkpoint holds, by name, in the order in which it is restored."""
        experiment = self.experiment
        update, device = experiment.update, experiment.device
        parts = {
            "progress": self.progress,
            MODEL: ModelState(experiment.model),
            "optimizer": optimizer_state(update.optimizer, experiment.ranks),
            "precision": update.precision,
            "average": update.average,
            "schedule": update.schedule,
            "early_stopping": self.early_stopping,
            "carried": experiment.carried,
            "window": self.window,
            "guard": self.guard,
            "monitor": self.monitor,
            "generators": Generators(device),
            "log": self.log,  # last: it removes log lines from after the checkpoint
        }
        return {name: part for name, part in parts.items() if isinstance(part, Stateful)}

    @property
    def position(self) -> Position:
        """The position after the last step."""
        return self.progress.position

    @property
    def is_finished(self) -> bool:
        """Whether no steps remain."""
        return self.stopped_early or self.position.step >= self.experiment.total_steps

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping has ended the run."""
        return self.early_stopping is not None and self.early_stopping.is_over

    def run(self) -> None:
        """Take the remaining steps; after each, do what is due (see `settle`).

        The state that the session begins with is saved already.
        """
        if self.stop.signal_number is not None and self.ranks.count == 1:
            self.leave(self.stop.signal_number, is_saved=True)
        if not self.progress.is_settled:
            self.settle()
        elif self.is_finished:  # no later save would finish the pruning of a killed run
            self.prune()
        self.guard.before_step(self.position, self.states)
        for report in self._steps():
            if self.guard.counts_in(report):
                self.window.add(report)
            self.progress.position, self.progress.is_settled = report.position, False
            self.log.advance(self.position.step, self.position.epoch)
            self._measure_angles(report)
            self.settle()
            if self.is_finished:
                return
            self.guard.before_step(self.position, self.states)

    def _steps(self) -> Iterator[StepReport]:
        """Yield the report of each remaining step; those that are due are observed."""
        experiment, update = self.experiment, self.experiment.update
        if self.is_finished:
            return
        total = experiment.total_steps
        steps = fit(self.engine, experiment.own_batches, update, total, self.position)
        while self.position.step < total:
            began = self.overhead.now()
            scale = self._prepare_step()
            is_observed = self.monitor.observes
            report = next(steps)
            self.monitor.after_step(scale, report.change.norms[0])
            self.overhead.add(began, self.overhead.now(), is_observed)
            yield report

    def _prepare_step(self) -> Tensor | None:
        """Prepare for the next step; return fp16's scale of its gradients."""
        update, (step, _, used) = self.experiment.update, self.position
        self.ranks.seed(self.experiment.config.seed, step)
        epoch = len(self.experiment.batches)
        left = epoch - used or epoch
        batches = min(update.batches, left)
        is_logged = self._is_logged(step + 1, ends_epoch=batches == left)
        left_then = left - batches or epoch
        next_is_logged = self._is_logged(step + 2, ends_epoch=update.batches >= left_then)
        self.monitor.before_step(step + 1, batches, is_logged, next_is_logged)
        return update.precision.scale if is_logged else None

    def _is_logged(self, step: int, ends_epoch: bool) -> bool:
        every = self.experiment.config.monitor.log_every
        return ends_epoch or step == self.experiment.total_steps or step % every == 0

    def _measure_angles(self, report: StepReport) -> None:
        """Measure how far from the gradient a learning rule is, if a log line is due."""
        step, _, batch = report.position
        ends_epoch = batch == len(self.experiment.batches)
        if self.angles is not None and self._is_logged(step, ends_epoch):
            self.monitor.note(self.angles(report.passes[-1].batch))

    def settle(self) -> None:
        """Log, evaluate and save if they are due after a step; stop if a signal was received.

        If a signal came during the step, the step is saved at once, and the resumed run does
        what is due after it.
        """
        config, (step, epoch, batch) = self.experiment.config, self.position
        if not self.log.has_graph:
            write_graph(self.log, self.experiment)
        self._leave_if_asked(is_saved=False)
        ends_epoch = batch == len(self.experiment.batches)
        ends = ends_epoch or step == self.experiment.total_steps
        values: dict[str, float] = {}
        if self._is_logged(step, ends_epoch):
            values, series = self.read_window()
            values |= self.evaluate() if ends else {}
            self._write(values, series)
            self.monitor.forget()
            self.window.restart()
        self.progress.is_settled = True

        saving = config.checkpoint
        due = ends_epoch and (epoch + 1) % saving.every_epochs == 0
        due |= saving.every_steps is not None and step % saving.every_steps == 0
        if due or self.is_finished:
            self.save(values)
        if due or values or self.ranks.count == 1:  # an exchange is not free: once is enough else
            self._leave_if_asked(is_saved=due or self.is_finished)

    def _leave_if_asked(self, is_saved: bool) -> None:
        """Stop if this process, or another one of the run, has received a signal."""
        number = self.ranks.largest(self.stop.signal_number or 0)
        if number:
            self.leave(number, is_saved)

    def _write(self, values: dict[str, float], series: dict[str, list[float]]) -> None:
        """Write a log line, what is concluded from it, and the pictures that are due."""
        step, epoch, _ = self.position
        if self.diagnosis.is_first(step):
            values.update(data_facts(self.experiment, step))
        self.log.write(step, epoch, values, series)
        self.log.tell(step, epoch, self.diagnosis.add(step, {**values, **series}))
        self._draw(values)

    def _draw(self, values: dict[str, float]) -> None:
        """Write the pictures that are due after a log line, and at the end of the run."""
        (step, epoch, _), board = self.position, self.log.board
        if self.is_finished or flow_pictures_are_due(values, self.monitor.count):
            board.write_pictures(step, dict(flow_pictures(self.diagnosis.lines)))
        is_alone = not self.ranks.shares_weights  # the others would have to answer too
        if tags.VAL_LOSS in values and is_alone and (self.is_finished or is_drawn_after(epoch + 1)):
            board.write_pictures(step, plane_pictures(self.experiment))

    def evaluate(self) -> dict[str, float]:
        """Return the validation metrics, and pass them to the schedule and early stopping.

        If the weights are averaged, the average is evaluated, as in the final test.
        """
        experiment, step = self.experiment, self.position.step
        average = experiment.update.average
        refuse_weights(experiment, step)
        try:
            with average.in_place_of(experiment.model) if average else nullcontext():
                # several processes stop at the step that they agree on, and nowhere else
                stop = self.stop if self.ranks.count == 1 else None
                values = evaluate_split(experiment, "val", stop=stop, state=f" after step {step}")
        except StopNow as stopped:
            self.leave(stopped.signal_number)
        if values:
            schedule = experiment.update.schedule
            if isinstance(schedule, ObservesLoss):
                schedule.observe(values[tags.VAL_LOSS])
            if self.early_stopping is not None:
                self.early_stopping.observe(values[self.early_stopping.config.metric])
        return values

    def read_window(self) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Return the values of a log line by tag and its lists, or raise NonFiniteError."""
        observed = self.monitor.observed
        update = self.experiment.update
        self.window.collect(self.ranks)
        reading = self.guard.examined(self.position.step, self.states, observed.tensors)
        if reading is None:
            return self.guard.values, {}
        norms = dict(zip(update.gradients.tags, reading.norms[-1], strict=True))
        if update.clipping is not None:
            norms |= dict(zip(update.gradients.clipped_tags, reading.clipped, strict=True))
        numbers, series = observed.values(reading.others)
        norms |= numbers
        step = self.position.step
        values = {
            **reading.means,
            tags.LEARNING_RATE: update.base_lrs[0] * update.schedule(step - 1),
            tags.EPOCH: step / self.experiment.steps_per_epoch,
            **{tag: norm for tag, norm in norms.items() if isfinite(norm)},
            tags.MEMORY_MB: used_mb(self.experiment.device),
        }
        overhead = self.overhead.share()
        measured = {} if overhead is None else {tags.MONITOR_OVERHEAD: overhead}
        return values | measured | self.read_scale() | self.guard.values, series

    def read_scale(self) -> dict[str, float]:
        """Return fp16's gradient scale by tag, or raise NonFiniteError if it is too small."""
        scale = self.experiment.update.precision.scale
        if scale is None:
            return {}
        refuse_lost_scale(float(scale), self.position.step)
        return {tags.LOSS_SCALE: float(scale)}

    def save(self, values: dict[str, float]) -> None:
        """Write a checkpoint and remove old ones; this time does not count as training time."""
        step, model = self.position.step, self.experiment.model
        self.window.collect(self.ranks)
        self.guard.examined(step, self.states)
        self.read_scale()  # a run resumed from a scale that is too small would fail again
        self.ranks.refuse_drift(f"the weights after step {step}", [*model.state_dict().values()])
        self._store(values)
        self.ranks.wait_for_first()
        self.window.resume_clock()

    def _store(self, values: dict[str, float]) -> None:
        """Write a checkpoint and remove old ones."""
        state = self.state(values)
        refuse_state(self.experiment, state)
        written = write_checkpoint(self.checkpoints, state, self.ranks.whole)
        self.prune(written)

    def prune(self, written: Path | None = None) -> None:
        """Remove old checkpoints; the one just `written` is not verified again."""
        keep_last = self.experiment.config.checkpoint.keep_last
        prune(self.checkpoints, keep_last, written, self.best_by)

    def leave(self, signal_number: int, is_saved: bool = False) -> NoReturn:
        """Save unless that is done already, and raise InterruptedRun."""
        if not is_saved:
            self.save({})
        raise InterruptedRun(
            signal_number,
            f"stopped at step {self.position.step}",
            f"--resume continues; the state is in {self.checkpoints}",
        )

    def state(self, values: dict[str, float]) -> TrainingState:
        """Return the content of a checkpoint: all that the next steps depend on."""
        states = {name: each.state() for name, each in self.states.items()}
        # JSON has no infinity, and a metric that overflowed must not end the run
        metrics = {tag: value for tag, value in values.items() if isfinite(value)}
        return TrainingState(self.position.step, states, metrics)

    def start(self, saved: TrainingState | None) -> None:
        """Begin a new run, or continue from a saved state."""
        if saved is None:
            self.begin()
        else:
            self.restore(saved)

    def begin(self) -> None:
        """Open the log of a new run and save its initial state, to resume it from the start."""
        self.log.begin()
        self.save({})

    def restore(self, saved: TrainingState) -> None:
        """Continue from a checkpoint, or raise CheckpointError if it is another experiment's."""
        try:
            for name, each in self.states.items():
                if name == "log":
                    self._refuse_other_window()
                if name in saved.states or name not in MAY_BEGIN_NOW:
                    each.restore(saved.states[name])
        except (RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the state of step {saved.step} does not fit the run's config",
                shorten(f"{type(error).__name__}: {error}"),
                "restore the config.yaml the run was trained with",
            ) from error
        self._recall()

    def _recall(self) -> None:
        """Let verdicts be given on what was logged before, too."""
        logged = logged_before(self.log.run_dir)
        self.diagnosis = Diagnosis(setup_of(self.experiment.config), logged)

    def _refuse_other_window(self) -> None:
        """Raise ValueError if the saved window of steps has other layers than the model."""
        is_begun = self.window.losses or not self.progress.is_settled
        tags = self.experiment.update.gradients.tags
        if is_begun and len(self.window.read().norms[0]) != len(tags):
            raise ValueError("the unlogged steps are of other layers")
