"""An experiment: its config, and the one place where data, model, optimizer and loop meet."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from bptrain.config import StrictConfig
from bptrain.data import BatchSource, DataConfig, Dataset, Split
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.models import LayerSummary, LossConfig, ModelConfig, summarize
from bptrain.models.losses import default_loss
from bptrain.monitor.metrics import evaluation_metric, training_metric
from bptrain.optim import OptimizerConfig, ScheduleConfig
from bptrain.optim.schedules import ConstantConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.problem import Problem
from bptrain.train.averaging import AveragedWeights
from bptrain.train.clipping import Clipping
from bptrain.train.early_stopping import EarlyStoppingConfig
from bptrain.train.evaluate import Metric
from bptrain.train.gradients import LayerGradients
from bptrain.train.memory import MemoryEstimate, refuse_if_too_large
from bptrain.train.precision import Precision
from bptrain.train.update import Update

Bound = Annotated[float, Field(gt=0)] | None


class TrainConfig(StrictConfig):
    """How long to train, and what happens between gradient and update."""

    epochs: int = Field(default=20, ge=1, le=1_000_000, description="passes over the training data")
    steps: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None, description="optimizer steps; in place of epochs where it is given"
    )
    bptt: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="time steps that a text is cut into, the state carried from cut to cut",
    )
    grad_accum_steps: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="batches whose gradients are gathered for one step: as a batch so much larger",
    )
    clip_grad_norm: Bound = Field(
        default=None, description="bound on the norm of all gradients together"
    )
    clip_grad_value: Bound = Field(
        default=None, description="bound on each number of the gradients"
    )
    clip_grad_adaptive: Bound = Field(
        default=None, description="bound on each layer's gradient, as a share of its weights' norm"
    )
    l1: float = Field(
        default=0.0, ge=0, description="pull of every weight towards zero, the same for all sizes"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="evaluate and test the running average of the weights, of this decay a step",
    )
    early_stopping: EarlyStoppingConfig | None = Field(
        default=None, description="end the run when the validation loss no longer falls"
    )

    @property
    def clipping(self) -> Clipping | None:
        """What bounds the gradients, if anything does."""
        bounds = (self.clip_grad_norm, self.clip_grad_value, self.clip_grad_adaptive)
        return None if bounds == (None, None, None) else Clipping(*bounds)


class MonitorConfig(StrictConfig):
    """What is logged."""

    log_every: int = Field(
        default=50, ge=1, le=1_000_000, description="steps between two log lines"
    )


class CheckpointConfig(StrictConfig):
    """When a checkpoint is written, and how many stay."""

    every_epochs: int = Field(default=1, ge=1, le=1_000_000, description="epochs between two")
    every_steps: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="steps between two, besides those at the end of epochs"
    )
    keep_last: int = Field(
        default=3,
        ge=2,
        le=1_000_000,
        description="newest ones kept, two at least should one be damaged; the best one always is",
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
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="of matrix products and convolutions; weights and sums stay in fp32",
    )
    data: DataConfig
    model: ModelConfig
    loss: LossConfig | None = Field(
        default=None,
        description="what is made small; null for the one that the data's task takes by default",
    )
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
    """What will be trained, known before any of the model is allocated.

    config  resolved: it names the loss
    """

    config: ExperimentConfig
    loss_function: nn.Module
    device: torch.device
    dataset: Dataset
    layers: list[LayerSummary]
    memory: MemoryEstimate

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        # shuffled, as it is trained with: a text that is only read is cut otherwise
        batches = len(serve(self.config, self.dataset.train, self.config.seed))
        return -(-batches // self.config.train.grad_accum_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.config.train.steps or self.config.train.epochs * self.steps_per_epoch


def plan(config: ExperimentConfig) -> Plan:
    """Read the data and inspect the model on the meta device, allocating none of it."""
    device = resolve_device(config.device)
    dataset = config.data.build(config.seed)
    problem = dataset.problem
    loss = config.loss or default_loss(problem)
    config = config.model_copy(update={"loss": loss})
    serve(config, dataset.train)  # refuses a train.bptt that this data has no use for
    refuse_what_cannot_work(config, dataset)
    batch_size = min(config.data.batch_size, len(dataset.train))
    model = config.model.build(problem, torch.device("meta"))
    refuse_lone_sample(config, dataset, model)
    layers = summarize(model, as_served(problem, config.train), batch_size)
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    outputs = batch_size * problem.outputs * 4  # the loss keeps its input
    # the average, and the live weights while it is evaluated in their place
    averaged = 2 * (config.train.ema_decay is not None)
    memory = MemoryEstimate(
        parameters,
        gradients=parameters,
        optimizer=parameters * (config.optimizer.states + averaged),
        kept_for_backward=sum(layer.kept_bytes for layer in layers) + outputs,
        data=dataset.bytes,
    )
    return Plan(config, loss.build(problem), device, dataset, layers, memory)


def refuse_what_cannot_work(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raise ConfigKeyError for parts of a config that exclude each other."""
    watching = {("schedule", "kind"): config.schedule.watches_validation}
    watching["train", "early_stopping"] = config.train.early_stopping is not None
    for key, watches in watching.items():
        if watches and dataset.validation is None:
            raise ConfigKeyError(
                key,
                "it watches the validation loss, and there are no validation samples",
                hint="a data.validation_fraction above 0",
            )
    if config.optimizer.searches:
        refuse_what_no_search_can(config, dataset.problem)


def refuse_what_no_search_can(config: ExperimentConfig, problem: Problem) -> None:
    """Raise ConfigKeyError for what an optimizer that searches along its loss cannot be beside."""
    refused = {
        "in fp16": (
            config.precision == "fp16",
            "the gradient scaler of fp16 cannot skip a step in the middle of a search",
            "precision=bf16",
        ),
        "with clipping": (
            config.train.clipping is not None,
            "it searches along the loss's own gradients, and clipped ones are no longer its slope",
            "leave train.clip_grad_norm and its like out",
        ),
        "with train.l1": (
            config.train.l1 > 0,
            "the penalty is no part of the loss that it searches along, and has a kink at 0",
            "another optimizer, or leave train.l1 out",
        ),
        "with a language model": (
            problem.task == "language_model",
            "it asks for the loss of a window several times, and the state that the model carries "
            "would go on each time",
            "optimizer.kind=adamw",
        ),
    }
    for what, (is_so, why, hint) in refused.items():
        if is_so:
            raise ConfigKeyError(("optimizer", "kind"), f"cannot be used {what}", why, hint)


def refuse_lone_sample(config: ExperimentConfig, dataset: Dataset, model: nn.Module) -> None:
    """Raise ConfigKeyError if a batch is a single sample, and the model cannot train on one."""
    samples, batch_size = len(dataset.train), config.data.batch_size
    last = samples % batch_size or min(samples, batch_size)
    if last != 1 or config.train.bptt is not None:
        return
    try:
        summarize(model, dataset.problem, last)
    except ValueError as error:
        raise ConfigKeyError(
            ("data", "batch_size"),
            f"of {samples:,} samples in batches of {batch_size:,} the last is alone",
            f"batch normalization measures a spread, and one sample has none: {error}",
            "another batch_size, or a normalization of each sample by itself",
        ) from error


def as_served(problem: Problem, train: TrainConfig) -> Problem:
    """Return the problem with the time steps that a batch has where train.bptt cuts sequences."""
    if train.bptt is None or not problem.is_sequence:
        return problem
    return replace(problem, input_shape=(train.bptt, *problem.input_shape[1:]))


def serve(config: ExperimentConfig, split: Split, seed: int | None = None) -> BatchSource:
    """Return the batches of a split as the config cuts them, shuffled if a seed is given."""
    return split.serve(config.data.batch_size, seed, config.train.bptt)


@dataclass(frozen=True)
class Experiment:
    """Everything that `fit` is handed, built from a plan and lying on its device."""

    config: ExperimentConfig
    device: torch.device
    dataset: Dataset
    model: nn.Module
    loss_function: nn.Module
    training_metric: Metric
    evaluation_metric: Metric
    update: Update
    batches: BatchSource
    steps_per_epoch: int
    total_steps: int


def build(plan: Plan) -> Experiment:
    """Build the experiment, or raise before the model is allocated if it cannot fit."""
    config, device = plan.config, plan.device
    refuse_if_too_large(plan.memory, device)
    dataset = plan.dataset.to(device)
    problem = dataset.problem
    torch.manual_seed(config.seed)
    # drawn on the CPU: the same weights on every device
    model = config.model.build(problem, torch.device("cpu")).to(device)
    return Experiment(
        config,
        device,
        dataset,
        model,
        loss_function=plan.loss_function.to(device),
        training_metric=training_metric(problem),
        evaluation_metric=evaluation_metric(problem),
        update=update_of(plan, model),
        batches=serve(config, dataset.train, config.seed),
        steps_per_epoch=plan.steps_per_epoch,
        total_steps=plan.total_steps,
    )


def update_of(plan: Plan, model: nn.Module) -> Update:
    """Return how the config changes the weights of its model."""
    config, train = plan.config, plan.config.train
    return Update(
        config.optimizer.build(model),
        config.schedule.build(plan.total_steps, plan.steps_per_epoch),
        LayerGradients(model),
        Precision.of(config.precision, plan.device),
        batches=train.grad_accum_steps,
        searches=config.optimizer.searches,
        clipping=train.clipping,
        l1=train.l1,
        average=AveragedWeights(model, train.ema_decay) if train.ema_decay else None,
    )
