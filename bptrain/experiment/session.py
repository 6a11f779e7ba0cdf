"""A run between its first step and its last: log, evaluate, save, and go on from what was saved."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from bptrain.errors import CheckpointError, DataError, InterruptedRun, shorten
from bptrain.experiment.build import Experiment
from bptrain.experiment.evaluation import evaluate_split
from bptrain.experiment.non_finite import refuse_state, refuse_steps, refuse_weights
from bptrain.monitor.run_log import RunLog
from bptrain.optim import Plateau
from bptrain.rundir.checkpoint import prune, write_checkpoint
from bptrain.rundir.training_state import TrainingState, Tree, capture, rest_of
from bptrain.saved_values import truth, whole
from bptrain.train.early_stopping import EarlyStopping
from bptrain.train.evaluate import StepWindow
from bptrain.train.loop import BEGINNING, Position, StepReport, fit
from bptrain.train.memory import used_mb
from bptrain.train.precision import refuse_lost_scale
from bptrain.train.signals import StopNow, StopRequest
from bptrain.train.state import (
    CarriesState,
    generators_state,
    optimizer_state,
    refuse_other_tensors,
    restore_generators,
    restore_optimizer,
)


@dataclass
class Session:
    """Where a run stands.

    position    after the last step
    is_settled  whether what was due after it is done: its log line, evaluation, checkpoint
    """

    experiment: Experiment
    checkpoints: Path
    log: RunLog
    stop: StopRequest
    position: Position = BEGINNING
    is_settled: bool = True
    window: StepWindow = field(init=False)
    early_stopping: EarlyStopping | None = field(init=False)

    def __post_init__(self) -> None:
        rule = self.experiment.config.train.early_stopping
        self.window = StepWindow(self.experiment.training_metric)
        self.early_stopping = rule.build() if rule else None

    @property
    def is_finished(self) -> bool:
        """Whether no step is left to take."""
        return self.stopped_early or self.position.step >= self.experiment.total_steps

    @property
    def stopped_early(self) -> bool:
        """Whether the validation loss has ended the run."""
        return self.early_stopping is not None and self.early_stopping.is_over

    def run(self) -> None:
        """Take the steps that are left, and settle after each what is due.

        What the session begins with is saved already, or restored from what is.
        """
        if self.stop.signal_number is not None:
            self.leave(self.stop.signal_number, is_saved=True)
        if not self.is_settled:
            self.settle()
        elif self.is_finished:  # no save comes that would end the pruning of a killed run
            prune(self.checkpoints, self.experiment.config.checkpoint.keep_last)
        for report in self._steps():
            self.window.add(report)
            self.position, self.is_settled = report.position, False
            self.log.shown.advance(self.position.step, self.position.epoch)
            self.settle()
            if self.is_finished:
                return

    def _steps(self) -> Iterator[StepReport]:
        experiment = self.experiment
        if self.is_finished:
            return iter(())
        return fit(
            experiment.model,
            experiment.loss_function,
            experiment.batches,
            experiment.update,
            experiment.total_steps,
            self.position,
        )

    def settle(self) -> None:
        """Do what is due after a step; leave if a signal asked for it.

        A signal that came before is obeyed first: the step is saved as it is, and what is due
        after it is done by the run that goes on from there.
        """
        config, (step, epoch, batch) = self.experiment.config, self.position
        if self.stop.signal_number is not None:
            self.leave(self.stop.signal_number)
        ends_epoch = batch == len(self.experiment.batches)
        ends = ends_epoch or step == self.experiment.total_steps
        values: dict[str, float] = {}
        if ends or step % config.monitor.log_every == 0:
            values = self.read_window()
            values |= self.evaluate() if ends else {}
            self.log.write(step, epoch, values)
            self.window.restart()
        self.is_settled = True

        saving = config.checkpoint
        due = ends_epoch and (epoch + 1) % saving.every_epochs == 0
        due |= saving.every_steps is not None and step % saving.every_steps == 0
        if due or self.is_finished:
            self.save(values)
        if self.stop.signal_number is not None:
            self.leave(self.stop.signal_number, is_saved=due or self.is_finished)

    def evaluate(self) -> dict[str, float]:
        """Return what the validation split says, and tell it to those who decide by it.

        A run that averages its weights is judged by the average, as it is tested later.
        """
        experiment, step = self.experiment, self.position.step
        average = experiment.update.average
        refuse_weights(experiment, step)
        try:
            with average.in_place_of(experiment.model) if average else nullcontext():
                values = evaluate_split(
                    experiment, "val", stop=self.stop, state=f" after step {step}"
                )
        except StopNow as stopped:
            self.leave(stopped.signal_number)
        if values:
            schedule = experiment.update.schedule
            if isinstance(schedule, Plateau):
                schedule.observe(values["val/loss"])
            if self.early_stopping is not None:
                self.early_stopping.observe(values["val/loss"])
        return values

    def read_window(self) -> dict[str, float]:
        """Return the values of a log line by tag, or raise NonFiniteError."""
        reading = self.window.read()
        update = self.experiment.update
        refuse_steps(update, reading, self.position.step)
        norms = dict(zip(update.gradients.tags, reading.norms[-1], strict=True))
        if update.clipping is not None:
            norms["grad/total_clipped"] = reading.clipped
        step = self.position.step
        values = {
            **reading.figures,
            "train/lr": update.base_lrs[0] * update.schedule(step - 1),
            "train/epoch": step / self.experiment.steps_per_epoch,
            **{tag: norm for tag, norm in norms.items() if isfinite(norm)},
            "perf/memory_mb": used_mb(self.experiment.device),
        }
        return values | self.read_scale()

    def read_scale(self) -> dict[str, float]:
        """Return the scale of fp16's gradients by tag, or raise NonFiniteError if it is lost."""
        scale = self.experiment.update.precision.scale
        if scale is None:
            return {}
        refuse_lost_scale(float(scale), self.position.step)
        return {"train/loss_scale": float(scale)}

    def save(self, values: dict[str, float]) -> None:
        """Write a checkpoint, and let go of the oldest; time that this takes is not training."""
        if self.window.losses:
            refuse_steps(self.experiment.update, self.window.read(), self.position.step)
        self.read_scale()  # a run that went on from a lost one would fail again, whatever it meets
        state = self.state(values)
        refuse_state(self.experiment, state)
        written = write_checkpoint(self.checkpoints, state)
        prune(self.checkpoints, self.experiment.config.checkpoint.keep_last, written)
        self.window.resume_clock()

    def leave(self, signal_number: int, is_saved: bool = False) -> NoReturn:
        """Save if that is not done, and raise InterruptedRun."""
        if not is_saved:
            self.save({})
        raise InterruptedRun(
            signal_number,
            f"stopped at step {self.position.step}",
            f"go on with --resume: the state is in {self.checkpoints}",
        )

    def state(self, values: dict[str, float]) -> TrainingState:
        """Return what a checkpoint holds: all that decides what the next steps will be."""
        experiment = self.experiment
        update, model = experiment.update, experiment.model
        rest: Tree = {
            "optimizer": optimizer_state(update.optimizer),
            "precision": update.precision.state(),
            "generators": generators_state(experiment.device),
            "window": self.window.state(),
            "log": self.log.position()._asdict(),
        }
        if update.average is not None:
            rest["average"] = {**update.average.state(), "tensors": update.average.tensors()}
        if isinstance(update.schedule, Plateau):
            rest["schedule"] = update.schedule.state()
        if self.early_stopping is not None:
            rest["early_stopping"] = self.early_stopping.state()
        if isinstance(model, CarriesState):
            rest["carried"] = model.carried_state()
        where = {
            **self.position._asdict(),
            "is_settled": self.is_settled,
            "samples": len(experiment.dataset.train),
        }
        # JSON has no word for a measure that overflowed; it is no reason to lose the run
        measured = {tag: value for tag, value in values.items() if isfinite(value)}
        return capture(model, rest, {**where, **measured})

    def restore(self, state: TrainingState) -> None:
        """Go on from a checkpoint, or raise CheckpointError if it is another experiment's."""
        try:
            self._restore(state)
        except (RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the state of step {state.values.get('step')} does not fit the run's config",
                shorten(f"{type(error).__name__}: {error}"),
                "restore the config.yaml the run was trained with",
            ) from error

    def _restore(self, state: TrainingState) -> None:
        experiment, values, rest = self.experiment, state.values, rest_of(state)
        update, model = experiment.update, experiment.model
        if values["samples"] != len(experiment.dataset.train):
            raise DataError(
                f"there are {len(experiment.dataset.train):,} training samples now, and were "
                f"{values['samples']:,} when the run began",
                "a run cannot go on with other data",
            )
        refuse_other_tensors(state.model, model.state_dict())
        model.load_state_dict(state.model)
        restore_optimizer(update.optimizer, rest["optimizer"])
        update.precision.restore(rest["precision"])
        if update.average is not None:
            update.average.restore(rest["average"]["tensors"], rest["average"])
        # a schedule or an early stopping that the run begins only now has nothing to go on from
        if isinstance(update.schedule, Plateau) and "schedule" in rest:
            update.schedule.restore(rest["schedule"])
        if self.early_stopping is not None and "early_stopping" in rest:
            self.early_stopping.restore(rest["early_stopping"])
        if isinstance(model, CarriesState):
            self._carry_on(model, rest["carried"])
        held = rest["window"]
        self.window.restore({name: each.to(experiment.device) for name, each in held.items()})
        self.position = self._position_of(values)
        self.is_settled = truth(values["is_settled"])
        is_begun = self.window.losses or not self.is_settled
        # what cannot be read now could not be read at the next log line
        if is_begun and len(self.window.read().norms[0]) != len(update.gradients.tags):
            raise ValueError("the log line that is begun is of other layers")
        restore_generators(experiment.device, rest["generators"])

    def _position_of(self, values: dict[str, Any]) -> Position:
        """Return the saved position; raises ValueError for one that no run comes to."""
        step, epoch, batch = position = Position(*(whole(values[n]) for n in Position._fields))
        batches, group = len(self.experiment.batches), self.experiment.update.batches
        # of the batches that are trained with: a text that is only read is cut otherwise
        if batch > batches or step != epoch * -(-batches // group) + -(-batch // group):
            raise ValueError(f"there is no step {step} at batch {batch} of epoch {epoch}")
        return position

    def _carry_on(self, model: CarriesState, tensors: dict[str, Tensor]) -> None:
        model.carry_on({name: each.to(self.experiment.device) for name, each in tensors.items()})
        texts = self.experiment.config.data.batch_size
        if any(each.shape[1] != texts for each in tensors.values()):  # [layers, B, H]
            raise ValueError(f"a state is carried of other texts than the {texts} that are read")
