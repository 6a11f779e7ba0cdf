"""The config of an experiment, section by section."""

from typing import Annotated, Literal

from pydantic import Field

from bptrain import tags
from bptrain.config import StrictConfig
from bptrain.data import DataConfig
from bptrain.errors import ConfigKeyError
from bptrain.losses import LossConfig
from bptrain.models import ModelConfig
from bptrain.monitor.step_monitor import Level
from bptrain.ops.kernels import Kernels
from bptrain.optim import OptimizerConfig, ScheduleConfig
from bptrain.optim.schedules import ConstantConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.tape.choices import Checkpointing, RuleName
from bptrain.tasks.decision import Maximized
from bptrain.train.clipping import Clipping
from bptrain.train.early_stopping import EarlyStoppingConfig

Bound = Annotated[float, Field(gt=0)] | None


class TrainConfig(StrictConfig):
    """How long to train, and what happens between gradient and update."""

    epochs: int = Field(default=20, ge=1, le=1_000_000, description="passes over the training data")
    steps: Annotated[int, Field(ge=1, le=10**12)] | None = Field(
        default=None, description="optimizer steps to train; replaces epochs where it is given"
    )
    bptt: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="time steps after which backpropagation through time is truncated; the state "
        "is carried from piece to piece. null backpropagates through whole sequences",
    )
    grad_accum_steps: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="batches whose gradients are accumulated for one update: the effect of a batch "
        "that many times larger, in the memory of one",
    )
    clip_grad_norm: Bound = Field(
        default=None,
        description="largest norm of all gradients together; larger ones are scaled down. Set it, "
        "to 1.0 for example, where gradients explode, as in recurrent networks",
    )
    clip_grad_value: Bound = Field(
        default=None, description="largest absolute value of each element of the gradients"
    )
    checkpointing: Checkpointing = Field(
        default="none",
        description="what the backward pass computes again instead of keeping it, to train larger "
        "networks in the same memory for about a third more time. blocks keeps the inputs of each "
        "block of layers, sqrt those of about sqrt(n) parts of n operations; the gradients are the "
        "same. It needs the tape (engine)",
    )
    clip_grad_adaptive: Bound = Field(
        default=None,
        description="largest norm of each layer's gradient, as a fraction of its weights' norm; "
        "0.01 is usual for networks without normalization",
    )
    l1: float = Field(
        default=0.0,
        ge=0,
        description="weight of the L1 penalty, which drives weights to exactly 0; 0 is none",
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="decay per step of an exponential moving average of the weights, which is then "
        "evaluated and tested instead of them; 0.999 is usual, null is none",
    )
    on_non_finite: Literal["stop", "skip", "rollback"] = Field(
        default="stop",
        description="what happens after a step whose loss or gradient is NaN or infinite. stop "
        "ends the run with exit code 6, the step saved for `bptrain replay`. skip leaves the step "
        "out; on a GPU that waits for the device in each step, and after 10 such steps in a row "
        "the run ends. rollback sets the weights back to the last checkpoint and continues with "
        "the batches that follow; after 3 times to the same checkpoint the run ends",
    )
    early_stopping: EarlyStoppingConfig | None = Field(
        default=None,
        description="stop once the validation loss, or another validation metric, has stopped "
        "improving; null trains to the end",
    )

    sync_batch_norm: bool = Field(
        default=False,
        description="whether batch normalization in a job of several processes (torchrun) takes "
        "the mean and variance over the rows of all of them, as one process would; three exchanges "
        "for each such layer and step. Such a job needs it; it needs monitor.level=basic. In a "
        "single process it changes nothing",
    )
    bucket_mb: float = Field(
        default=25.0,
        gt=0,
        le=1_000_000,
        description="MiB of gradients that the processes of a job (torchrun) add up in one "
        "exchange, which starts while the backward pass computes the layers below. Smaller ones "
        "start earlier, and each takes the latency of the network once more. The first one has at "
        "most 1 MiB. In a single process it changes nothing",
    )
    sharded: bool = Field(
        default=False,
        description="whether the processes of a job (torchrun) share one model's weights, for "
        "models larger than one device: each holds its part of every weight, gradient, optimizer "
        "state and average, and a block of layers is gathered when it computes. By autograd; it "
        "sends 1.5 times as many bytes as without. Checkpoints are the same, and a run may "
        "continue with or without it. In a single process nothing is divided",
    )
    process_timeout_s: float = Field(
        default=15.0,
        ge=1,
        le=86_400,
        description="seconds that the processes of a job (torchrun) wait in a step for one that "
        "does not answer, before all of them end with exit code 10. A step that takes one of them "
        "longer than the others by more than this needs more; what rank 0 writes is waited for "
        "without it",
    )

    @property
    def clipping(self) -> Clipping | None:
        """What bounds the gradients, if anything does."""
        bounds = (self.clip_grad_norm, self.clip_grad_value, self.clip_grad_adaptive)
        return None if bounds == (None, None, None) else Clipping(*bounds)


class MonitorConfig(StrictConfig):
    """What is logged, and how often."""

    log_every: int = Field(
        default=50,
        ge=1,
        le=1_000_000,
        description="optimizer steps between two log lines and points of the curves",
    )
    level: Level = Field(
        default="standard",
        description="what is logged besides losses, metrics and gradient norms. basic: nothing. "
        "standard: norms of the loss's gradient by each layer's output, and over time in recurrent "
        "layers; dead and saturated units; norms of the weights and of their updates. full: also "
        "norms of single samples' gradients, where they can be told apart, and the batch size that "
        "they suggest; the cosine of successive gradients; histograms of magnitudes",
    )
    max_overhead: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=0.03,
        description="largest part of the training time that the level may take: it is then logged "
        "in fewer lines. null logs it in every line",
    )


class MetricsConfig(StrictConfig):
    """How predictions are judged."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | Maximized | None = Field(
        default=None,
        description="two classes: the second one is predicted where its probability is at least "
        "this number. balanced_accuracy or f1 (of the second class): chosen at each validation as "
        "the number with the largest such metric on the validation samples, stored with the "
        "checkpoint, and used by the test, evaluate, predict and export. Set it where one class "
        "is rare, or one kind of error costs more. null: the class with the largest output. It "
        "changes neither the loss nor train/accuracy",
    )


class CheckpointConfig(StrictConfig):
    """When checkpoints are written, and how many are retained."""

    every_epochs: int = Field(
        default=1, ge=1, le=1_000_000, description="epochs between two checkpoints"
    )
    every_steps: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None,
        description="optimizer steps between two further checkpoints; null writes them only at the "
        "end of epochs",
    )
    keep_last: int = Field(
        default=3,
        ge=2,
        le=1_000_000,
        description="newest checkpoints to keep, at least two in case one is damaged; the best "
        "one is never removed",
    )
    best_by: str = Field(
        default=tags.VAL_LOSS,
        pattern=r"^val/[a-z0-9_]+$",
        description="validation metric by which the best checkpoint is chosen, which is tested, "
        "evaluated and used: val/loss, or another of the task, such as val/accuracy or "
        "val/macro_f1; whether larger or smaller is better follows from the metric",
    )


EngineName = Literal["auto", "tape", "autograd"]
BackwardName = Literal["backprop", RuleName]


class ExperimentConfig(StrictConfig):
    """A bptrain experiment."""

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="name of the run, and of its folder under runs/",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="seed of all random numbers: initial weights, shuffling, splits, dropout",
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="device to train on: auto (a GPU if there is one), cpu, cuda or cuda:N",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="number format of matrix products and convolutions; weights, sums and the "
        "optimizer stay in fp32. bf16 and fp16 are faster on GPUs that have them",
    )
    engine: EngineName = Field(
        default="auto",
        description="what runs a training step. tape: bptrain itself, from a record of the step, "
        "proven equal to autograd's on the first batch; faster, and needs less memory. autograd: "
        "torch's engine. auto: the tape, and autograd where a step cannot be recorded, or would be "
        "recorded anew for each batch, with a line that says why; tape refuses a model that cannot "
        "be recorded",
    )
    backward: BackwardName = Field(
        default="backprop",
        description="what moves the weights. backprop: the gradient. The others are learning rules "
        "that compute no gradient, to be compared with it: feedback_alignment, "
        "direct_feedback_alignment and sign_symmetry send errors back through other weights than "
        "the layers' own, forward_gradient has no backward pass. They need the tape (engine)",
    )
    kernels: Kernels = Field(
        default="fused",
        description="fused computes an operation by a library's kernel where there is one; formula "
        "by the lines of its derivation, which gives the same numbers to rounding and is slower",
    )
    compile: bool | Literal["auto"] = Field(
        default=False,
        description="whether torch.compile compiles the recorded step, forward and backward, once "
        "at the start, which takes 10 s to minutes and is cached on disk; with kernels formula it "
        "is bptrain's formulas that become kernels. true needs a C++ compiler and a step that can "
        "be compiled; auto does without where there is none, and says so",
    )
    data: DataConfig
    model: ModelConfig
    loss: LossConfig | None = Field(
        default=None,
        description="the loss to minimize; null for the default of the data's task",
    )
    optimizer: OptimizerConfig = SGDConfig()
    schedule: ScheduleConfig = ConstantConfig()
    train: TrainConfig = TrainConfig()
    monitor: MonitorConfig = MonitorConfig()
    metrics: MetricsConfig = MetricsConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    @property
    def batch_size(self) -> int:
        """Samples in a batch; raises ConfigKeyError where that is still to be found."""
        if self.data.batch_size == "auto":
            raise ConfigKeyError(
                ("data", "batch_size"), "is auto, which is found for training", hint="a number"
            )
        return self.data.batch_size
