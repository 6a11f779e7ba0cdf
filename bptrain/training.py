"""A run: train an experiment, log, evaluate, save, test; and what is done with it afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from rich.console import Console
from torch import Tensor, nn

from bptrain.config import to_yaml
from bptrain.errors import InterruptedRun, NonFiniteError, UsageError
from bptrain.experiment import Experiment, ExperimentConfig, Plan, build, plan, serve
from bptrain.monitor.console import TrainingConsole, figures
from bptrain.monitor.exhibits import Shown, exhibits_of
from bptrain.monitor.metrics_file import MetricsFile
from bptrain.monitor.pictures import write_png
from bptrain.monitor.quantities import LayerGradients
from bptrain.monitor.tensorboard import Board
from bptrain.saved_run import (
    CHECKPOINTS,
    PICTURES,
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
)
from bptrain.train.checkpoint import prune, write_checkpoint
from bptrain.train.evaluate import StepWindow, Watcher, evaluate
from bptrain.train.loop import StepReport, fit
from bptrain.train.memory import allocating, used_mb
from bptrain.train.prepared import write_prepared
from bptrain.train.run_directory import create_run_directory, write_description, write_error_log
from bptrain.train.signals import StopRequest
from bptrain.train.state import TrainingState, capture
from bptrain.train.storage import storing
from bptrain.verify import Report, check

CHECKED_SAMPLES = 8  # more would slow finite differences and show no other error


def run(plan: Plan, chosen_dir: Path | None, console: Console) -> Path:
    """Train the plan's experiment, test its best state, and return the run's folder."""
    with allocating():
        experiment = build(plan)
        run_dir = create_run_directory(plan.config.name, chosen_dir)
        try:
            write_description(run_dir, to_yaml(plan.config), plan.device)
            write_prepared(run_dir, plan.dataset.problem, plan.dataset.prepared)
            train(experiment, run_dir, console)
        except InterruptedRun:
            raise
        except BaseException as error:
            write_error_log(run_dir, error)
            raise
    return run_dir


def train(experiment: Experiment, run_dir: Path, console: Console) -> None:
    """Run the loop: log, evaluate and save between its steps, judge the best state at the end."""
    config, checkpoints = experiment.config, run_dir / CHECKPOINTS
    gradients = LayerGradients(experiment.model)
    window = StepWindow(experiment.training_metric)
    with ExitStack() as opened, storing(run_dir):
        metrics = opened.enter_context(MetricsFile(run_dir / "metrics.jsonl"))
        board = opened.enter_context(
            Board(
                run_dir / "tensorboard",
                to_yaml(config),
                gradients.tags,
                experiment.evaluation_metric.names,
            )
        )
        shown = opened.enter_context(
            TrainingConsole(console, experiment.total_steps, len(experiment.batches))
        )
        stop = opened.enter_context(StopRequest())
        for report in steps(experiment):
            window.add(report)
            shown.advance(report.step, report.epoch)
            ends = report.ends_epoch or report.step == experiment.total_steps
            stopping = stop.signal_number
            if not (ends or stopping or report.step % config.monitor.log_every == 0):
                continue

            values = read_window(experiment, window, gradients, report)
            if ends and not stopping:
                values |= evaluate_split(experiment, "val")
            metrics.write(report.step, report.epoch, values)
            board.write(report.step, values)
            shown.show(report.step, values)

            due = ends and (report.epoch + 1) % config.checkpoint.every_epochs == 0
            if due or stopping or report.step == experiment.total_steps:
                write_checkpoint(checkpoints, state_of(experiment, report, values))
                prune(checkpoints, config.checkpoint.keep_last)
            if stopping:
                raise InterruptedRun(
                    stopping, f"stopped at step {report.step}", f"the state is in {checkpoints}"
                )
            window.restart()

        judged = judge(experiment, choose_checkpoint(run_dir, "best"))
        if judged is not None:
            if judged.split == "test":
                metrics.write(experiment.total_steps, report.epoch, judged.values)
                board.write(experiment.total_steps, judged.values)
            board.show(experiment.total_steps, judged.split, judged.shown)
            save_pictures(run_dir, judged)
            shown.say(judged.summary)


@dataclass(frozen=True)
class Judged:
    """What became of a state: its loss and metrics by tag, and what is shown of its answers."""

    checkpoint: str
    split: Literal["test", "val"]
    samples: int
    values: dict[str, float]
    shown: list[Shown]

    @property
    def summary(self) -> str:
        """The figures in a line."""
        held = f"{self.checkpoint}, {self.samples:,} samples"
        return f"{'test ' * (self.split == 'test')}{figures(self.values)}  ({held})"


def judge(experiment: Experiment, checkpoint: Path) -> Judged | None:
    """Load a state and evaluate it on the test split, on the validation split if there is none.

    Returns None where there is neither. What a task shows of its answers beyond its exhibits, as
    text that the model writes, is appended to `shown` here.
    """
    test, validation = experiment.dataset.test, experiment.dataset.validation
    split: Literal["test", "val"] = "val" if test is None else "test"
    judging = validation if test is None else test
    if judging is None:
        return None
    load_model(experiment.model, checkpoint)
    exhibits = exhibits_of(experiment.dataset.problem)
    values = evaluate_split(experiment, split, exhibits)
    shown = [each for exhibit in exhibits if (each := exhibit.show()) is not None]
    return Judged(checkpoint.name, split, len(judging), values, shown)


def save_pictures(run_dir: Path, judged: Judged) -> list[Path]:
    """Write the pictures of a judged state into the run's folder and return their paths."""
    folder = run_dir / PICTURES / judged.checkpoint
    pictures = {each.name: each.picture for each in judged.shown if each.picture is not None}
    with storing(folder):
        return [write_png(folder / f"{name}.png", picture) for name, picture in pictures.items()]


class TrainingStep(nn.Module):
    """The model and the loss as one module, as `check` judges them."""

    def __init__(self, model: nn.Module, loss: nn.Module, inputs: int) -> None:
        super().__init__()
        self.model, self.loss, self.inputs = model, loss, inputs

    def forward(self, *batch: Tensor) -> Tensor:
        """Return the loss of a batch: the inputs of the model first, then the targets."""
        outputs = self.model(*batch[: self.inputs])
        loss: Tensor = self.loss(outputs, *batch[self.inputs :])
        return loss


def check_gradients(config: ExperimentConfig) -> Report:
    """Prove every gradient of the config's model and loss on its first training samples."""
    with allocating():
        experiment = build(plan(config))
        few = config.model_copy(
            update={"data": config.data.model_copy(update={"batch_size": CHECKED_SAMPLES})}
        )
        batch = next(serve(few, experiment.dataset.train, config.seed).epoch(0))
        step = TrainingStep(experiment.model, experiment.loss_function, len(batch.inputs))
        return check(step, (*batch.inputs, *batch.targets))


def state_of(experiment: Experiment, report: StepReport, values: dict[str, float]) -> TrainingState:
    """Return what the checkpoint of a step holds."""
    position = {"step": report.step, "epoch": report.epoch, "seed": experiment.config.seed}
    return capture(experiment.model, experiment.optimizer, {**position, **values})


def evaluate_run(run_dir: Path, which: Choice) -> Judged:
    """Judge the best or last state of a run anew."""
    config = read_config(run_dir)
    checkpoint = choose_checkpoint(run_dir, which)
    with allocating():
        judged = judge(build(plan(config)), checkpoint)
    if judged is None:
        raise UsageError(f"{run_dir}: the run's data has neither test nor validation samples")
    return judged


def steps(experiment: Experiment) -> Iterator[StepReport]:
    """Run the loop over an experiment's parts."""
    return fit(
        experiment.model,
        experiment.loss_function,
        experiment.optimizer,
        experiment.schedule,
        experiment.batches,
        experiment.total_steps,
    )


def read_window(
    experiment: Experiment, window: StepWindow, gradients: LayerGradients, report: StepReport
) -> dict[str, float]:
    """Return the values of a log line by tag, or raise NonFiniteError."""
    losses, figures, norms = window.read(gradients.norms())
    by_tag = dict(zip(gradients.tags, norms, strict=True))
    first_step = report.step - len(losses) + 1
    for step, loss in enumerate(losses, start=first_step):
        if not isfinite(loss):
            refuse_non_finite(f"the loss is {loss} at step {step}")
    for tag, norm in by_tag.items():
        if tag != "grad/total" and not isfinite(norm):
            layer = tag.removeprefix("grad/layer/")
            refuse_non_finite(f"the gradient of {layer} is {norm} at step {report.step}")
    return {
        **figures,
        "train/lr": report.lr,
        "train/epoch": report.step / len(experiment.batches),
        **by_tag,
        "perf/memory_mb": used_mb(experiment.device),
    }


def refuse_non_finite(what: str) -> None:
    """Raise NonFiniteError with what to try."""
    raise NonFiniteError(
        what,
        "the weights have grown too far or the data holds extreme values",
        "a smaller optimizer.lr, or schedule.warmup_steps; the last checkpoint is from before",
    )


def evaluate_split(
    experiment: Experiment, prefix: Literal["val", "test"], watchers: Sequence[Watcher] = ()
) -> dict[str, float]:
    """Return the loss and metrics of the "val" or "test" split by tag; {} if it has no samples."""
    dataset = experiment.dataset
    split = dataset.validation if prefix == "val" else dataset.test
    if split is None:
        return {}
    measured = evaluate(
        experiment.model,
        experiment.loss_function,
        experiment.evaluation_metric,
        serve(experiment.config, split).epoch(0),
        watchers,
    )
    if not isfinite(measured["loss"]):
        refuse_non_finite(f"the {prefix} loss is {measured['loss']}")
    return {f"{prefix}/{name}": value for name, value in measured.items()}
