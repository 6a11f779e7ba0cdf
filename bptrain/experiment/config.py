"""The config of an experiment, section by section."""

from typing import Annotated, Literal

from pydantic import Field

from bptrain.config import StrictConfig
from bptrain.data import DataConfig
from bptrain.losses import LossConfig
from bptrain.models import ModelConfig
from bptrain.optim import OptimizerConfig, ScheduleConfig
from bptrain.optim.schedules import ConstantConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.train.clipping import Clipping
from bptrain.train.early_stopping import EarlyStoppingConfig

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
