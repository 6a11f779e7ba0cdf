"""An experiment: its config, and the one place where data, model, optimizer and loop meet."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from rich.console import Console
from torch import Tensor, nn

from bptrain.config import StrictConfig, load_config, to_yaml
from bptrain.data import Batches, DataConfig, Splits
from bptrain.errors import (
    CheckpointError,
    InterruptedRun,
    NonFiniteError,
    UsageError,
    shorten,
)
from bptrain.models import LayerSummary, LossConfig, ModelConfig, summarize
from bptrain.models.losses import CrossEntropyConfig
from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.metrics_file import MetricsFile
from bptrain.monitor.quantities import LayerGradients
from bptrain.monitor.tensorboard import Board
from bptrain.optim import OptimizerConfig, Schedule, ScheduleConfig
from bptrain.optim.optimizers import SGDConfig
from bptrain.optim.schedules import ConstantConfig
from bptrain.train.checkpoint import (
    best_checkpoint,
    last_first,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from bptrain.train.evaluate import StepWindow, evaluate
from bptrain.train.loop import StepReport, fit
from bptrain.train.memory import MemoryEstimate, allocating, refuse_if_too_large, used_mb
from bptrain.train.run_directory import create_run_directory, write_description, write_error_log
from bptrain.train.signals import StopRequest
from bptrain.train.state import TrainingState, capture
from bptrain.train.storage import storing
from bptrain.verify import Report, check

CHECKPOINTS = "checkpoints"
CHECKED_SAMPLES = 8  # more would slow finite differences and show no other error


class TrainConfig(StrictConfig):
    """How long to train."""

    epochs: int = Field(default=20, ge=1, le=1_000_000, description="passes over the training data")
    steps: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None, description="optimizer steps; in place of epochs where it is given"
    )


class MonitorConfig(StrictConfig):
    """What is logged."""

    log_every: int = Field(
        default=50, ge=1, le=1_000_000, description="steps between two log lines"
    )


class CheckpointConfig(StrictConfig):
    """When a checkpoint is written, and how many stay."""

    every_epochs: int = Field(default=1, ge=1, le=1_000_000, description="epochs between two")
    keep_last: int = Field(
        default=3, ge=1, le=1_000_000, description="newest ones kept; the best one always is"
    )


class ExperimentConfig(StrictConfig):
    """A bptrain experiment."""

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="the run's folder under runs/",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="of the weights, the shuffling and the splits"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="auto takes the GPU where there is one",
    )
    data: DataConfig
    model: ModelConfig
    loss: LossConfig = CrossEntropyConfig()
    optimizer: OptimizerConfig = SGDConfig()
    schedule: ScheduleConfig = ConstantConfig()
    train: TrainConfig = TrainConfig()
    monitor: MonitorConfig = MonitorConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()


def resolve_device(name: str) -> torch.device:
    """Return the device of the config, or raise UsageError if the machine lacks it."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device is {name}, this machine has {torch.cuda.device_count()} CUDA devices",
            hint="device: auto takes what there is; `bptrain doctor` lists it",
        )
    return device


@dataclass(frozen=True)
class Plan:
    """What will be trained, known before any of the model is allocated."""

    config: ExperimentConfig
    device: torch.device
    splits: Splits
    layers: list[LayerSummary]
    memory: MemoryEstimate

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return len(Batches(self.splits.train, self.config.data.batch_size))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.config.train.steps or self.config.train.epochs * self.steps_per_epoch


def plan(config: ExperimentConfig) -> Plan:
    """Read the data and inspect the model on the meta device, allocating none of it."""
    device = resolve_device(config.device)
    splits = config.data.build(config.seed)
    batch_size = min(config.data.batch_size, len(splits.train))
    model = config.model.build(splits.input_shape, splits.classes, torch.device("meta"))
    layers = summarize(model, splits.input_shape, batch_size)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    outputs = batch_size * splits.classes * 4  # the loss keeps its input
    memory = MemoryEstimate(
        parameters,
        gradients=parameters,
        optimizer=parameters * config.optimizer.states,
        kept_for_backward=sum(layer.kept_bytes for layer in layers) + outputs,
        data=splits.bytes,
    )
    return Plan(config, device, splits, layers, memory)


@dataclass(frozen=True)
class Experiment:
    """Everything that `fit` is handed, built from a plan and lying on its device."""

    config: ExperimentConfig
    device: torch.device
    splits: Splits
    model: nn.Module
    loss_function: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    batches: Batches
    total_steps: int


def build(plan: Plan) -> Experiment:
    """Build the experiment, or raise before the model is allocated if it cannot fit."""
    config, device = plan.config, plan.device
    refuse_if_too_large(plan.memory, device)
    splits = plan.splits.to(device)
    torch.manual_seed(config.seed)
    # drawn on the CPU: the same weights on every device
    model = config.model.build(splits.input_shape, splits.classes, torch.device("cpu")).to(device)
    return Experiment(
        config,
        device,
        splits,
        model,
        loss_function=config.loss.build().to(device),
        optimizer=config.optimizer.build(model.parameters()),
        schedule=config.schedule.build(plan.total_steps, plan.steps_per_epoch),
        batches=Batches(splits.train, config.data.batch_size, config.seed),
        total_steps=plan.total_steps,
    )


def run(plan: Plan, chosen_dir: Path | None, console: Console) -> Path:
    """Train the plan's experiment, test its best state, and return the run's folder."""
    with allocating():
        experiment = build(plan)
        run_dir = create_run_directory(plan.config.name, chosen_dir)
        try:
            write_description(run_dir, to_yaml(plan.config), plan.device)
            train(experiment, run_dir, console)
        except InterruptedRun:
            raise
        except BaseException as error:
            write_error_log(run_dir, error)
            raise
    return run_dir


def train(experiment: Experiment, run_dir: Path, console: Console) -> None:
    """Run the loop: log, evaluate and save between its steps, test at the end."""
    config, checkpoints = experiment.config, run_dir / CHECKPOINTS
    gradients = LayerGradients(experiment.model)
    window = StepWindow()
    with ExitStack() as opened, storing(run_dir):
        metrics = opened.enter_context(MetricsFile(run_dir / "metrics.jsonl"))
        board = opened.enter_context(
            Board(run_dir / "tensorboard", to_yaml(config), gradients.tags)
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

        best = best_checkpoint(checkpoints)
        load_model(experiment.model, best)
        tested = evaluate_split(experiment, "test")
        metrics.write(experiment.total_steps, report.epoch, tested)
        board.write(experiment.total_steps, tested)
        shown.say(
            f"test accuracy {tested['test/accuracy']:.2%}  loss {tested['test/loss']:.4f}  "
            f"({best.name}, {len(experiment.splits.test):,} samples)"
        )


class TrainingStep(nn.Module):
    """The model and the loss as one module, as `check` judges them."""

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch."""
        loss: Tensor = self.loss(self.model(inputs), targets)
        return loss


def check_gradients(config: ExperimentConfig) -> Report:
    """Prove every gradient of the config's model and loss on its first training samples."""
    with allocating():
        experiment = build(plan(config))
        inputs, targets = next(experiment.batches.epoch(0))
        step = TrainingStep(experiment.model, experiment.loss_function)
        return check(step, (inputs[:CHECKED_SAMPLES], targets[:CHECKED_SAMPLES]))


def state_of(experiment: Experiment, report: StepReport, values: dict[str, float]) -> TrainingState:
    """Return what the checkpoint of a step holds."""
    position = {"step": report.step, "epoch": report.epoch, "seed": experiment.config.seed}
    return capture(experiment.model, experiment.optimizer, {**position, **values})


def load_model(model: nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint's weights, or raise CheckpointError if they are another model's."""
    state = read_checkpoint(checkpoint)
    try:
        model.load_state_dict(state.model)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint}: holds another model than the run's config.yaml",
            shorten(str(error)),
            "restore the config.yaml the run was trained with",
        ) from error


def evaluate_run(run_dir: Path, which: Literal["best", "last"]) -> dict[str, float | str]:
    """Return the loss and metrics of a run's state on the test split, and the checkpoint's name."""
    if not (run_dir / "config.yaml").is_file():
        raise UsageError(f"{run_dir}: not a run directory", "it has no config.yaml")
    config = load_config(ExperimentConfig, run_dir / "config.yaml", [])
    checkpoints = run_dir / CHECKPOINTS
    path = best_checkpoint(checkpoints) if which == "best" else last_first(checkpoints)[0]
    with allocating():
        experiment = build(plan(config))
        load_model(experiment.model, path)
        return {"checkpoint": path.name, **evaluate_split(experiment, "test")}


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


def evaluate_split(experiment: Experiment, prefix: str) -> dict[str, float]:
    """Return the loss and metrics of the "val" or "test" split by tag; {} if it has no samples."""
    split = experiment.splits.validation if prefix == "val" else experiment.splits.test
    if split is None:
        return {}
    batches = Batches(split, experiment.config.data.batch_size).epoch(0)
    measured = evaluate(experiment.model, experiment.loss_function, batches)
    return {f"{prefix}/{name}": value for name, value in measured.items()}
