"""A run: train an experiment, log, evaluate, save, and judge the best state at the end."""

from collections.abc import Iterator
from contextlib import ExitStack
from math import isfinite
from pathlib import Path

from rich.console import Console
from torch import Tensor, nn

from bptrain.config import to_yaml
from bptrain.data.text import TextConfig
from bptrain.errors import InterruptedRun
from bptrain.experiment import Experiment, ExperimentConfig, Plan, build, plan, serve
from bptrain.judging import evaluate_split, judge, refuse_non_finite, save_pictures
from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.metrics_file import MetricsFile
from bptrain.monitor.tensorboard import Board
from bptrain.saved_run import (
    CHECKPOINTS,
    choose_checkpoint,
)
from bptrain.train.checkpoint import prune, write_checkpoint
from bptrain.train.evaluate import StepWindow
from bptrain.train.gradients import LayerGradients
from bptrain.train.loop import StepReport, fit
from bptrain.train.memory import allocating, used_mb
from bptrain.train.prepared import write_prepared
from bptrain.train.run_directory import create_run_directory, write_description, write_error_log
from bptrain.train.signals import StopRequest
from bptrain.train.state import TrainingState, capture
from bptrain.train.storage import storing
from bptrain.verify import Report, check
from bptrain.writing import write_sample

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

        conclude(experiment, run_dir, metrics, board, shown, report.epoch)


def conclude(
    experiment: Experiment,
    run_dir: Path,
    metrics: MetricsFile,
    board: Board,
    shown: TrainingConsole,
    epoch: int,
) -> None:
    """Judge the best state of a run that has ended, and show what became of it."""
    judged = judge(experiment, choose_checkpoint(run_dir, "best"))
    if judged is not None:
        step = experiment.total_steps
        if judged.split == "test":
            metrics.write(step, epoch, judged.values)
            board.write(step, judged.values)
        board.show(step, judged.split, judged.shown)
        save_pictures(run_dir, judged)
        shown.say(judged.summary)
    write_in_the_end(experiment, run_dir, board)


def write_in_the_end(experiment: Experiment, run_dir: Path, board: Board) -> None:
    """Let a language model write a text into the run's folder, and show it on the board."""
    config = experiment.config
    if isinstance(config.data, TextConfig):
        text = write_sample(
            run_dir, config.data, experiment.model, experiment.dataset.prepared, config.seed
        )
        board.write_text(experiment.total_steps, "sample", text)


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
