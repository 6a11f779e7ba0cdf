"""The losses of every task; which one a problem takes where the config names none.

classification  outputs [N, K] against classes [N], or class probabilities [N, K]
tagging         outputs [N, T, K] against classes [N, T], -100 where a step does not count
language_model  outputs [N, T, K] against the next tokens [N, T]
regression      outputs [N, O] against numbers [N, O]
transcription   outputs [N, T, K] against texts [N, S], frames in use [N], symbols in use [N]
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.errors import UsageError
from bptrain.problem import Problem, Task

BLANK = 0  # the symbol of a transcription that stands for no letter


class TaskLossConfig(StrictConfig):
    """What the losses share: each knows the tasks it fits, and refuses the others.

    takes_probabilities  whether a target may be probabilities of classes, where classes are mixed
    """

    kind: str = ""
    tasks: ClassVar[tuple[Task, ...]] = ()
    takes_probabilities: ClassVar[bool] = False

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss module, or raise UsageError for a problem that it does not fit."""
        if problem.task not in self.tasks:
            fitting = [kind.model_fields["kind"].default for kind in losses_of(problem.task)]
            raise UsageError(
                f"loss.kind {self.kind} does not fit a {problem.task} problem",
                f"it is a loss of {' and '.join(self.tasks)}",
                f"loss.kind: {' or '.join(fitting)}, or leave the loss out",
            )
        if problem.mixes and not self.takes_probabilities:
            fitting = [
                kind.model_fields["kind"].default
                for kind in losses_of(problem.task)
                if kind.takes_probabilities
            ]
            raise UsageError(
                f"loss.kind {self.kind} takes one class for each sample",
                "mixup and cutmix in data.augment make probabilities of several",
                f"loss.kind: {' or '.join(fitting)}, or no mixing",
            )
        return self.module(problem)

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss module for a problem that it fits."""
        raise NotImplementedError

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the class probabilities [..., K] that a model trained with this loss means."""
        return outputs.softmax(-1)


class EachStep(torch.nn.Module):
    """A loss of samples [N, K] and [N], taken over every time step of [N, T, K] and [N, T]."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss, each time step a sample of its own."""
        # views of a contiguous output: [N * T, K] and [N * T]
        loss: Tensor = self.loss(input.flatten(0, 1), target.flatten())
        return loss


class CrossEntropyConfig(TaskLossConfig):
    """Softmax and negative log-likelihood."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of each label spread over all classes"
    )

    tasks = ("classification", "tagging", "language_model")
    takes_probabilities = True

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits."""
        loss = nn.CrossEntropyLoss(label_smoothing=self.label_smoothing)
        return loss if problem.task == "classification" else EachStep(loss)


class OneHot(torch.nn.Module):
    """A loss of numbers [N, K], taken against the one-hot vector of each class."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of outputs [N, K] against classes [N] or probabilities [N, K]."""
        if not target.is_floating_point():
            target = torch.zeros_like(input).scatter_(1, target.unsqueeze(1), 1)
        loss: Tensor = self.loss(input, target)
        return loss


class BCEWithLogitsConfig(TaskLossConfig):
    """A sigmoid for each class, yes against no: classes do not compete for the probability."""

    kind: Literal["bce_with_logits"] = "bce_with_logits"

    tasks = ("classification",)
    takes_probabilities = True

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits."""
        return OneHot(nn.BCEWithLogitsLoss())

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return each class's own probability; of a sample they need not sum to 1."""
        return outputs.sigmoid()


class MSEConfig(TaskLossConfig):
    """Mean squared error; of classes against one-hot labels, slower to learn from than others."""

    kind: Literal["mse"] = "mse"

    tasks = ("regression", "classification")
    takes_probabilities = True

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        loss = nn.MSELoss()
        return loss if problem.task == "regression" else OneHot(loss)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the outputs themselves: the squared error is least at the probabilities."""
        return outputs.clamp(0, 1)


class L1Config(TaskLossConfig):
    """Mean absolute error: an outlier weighs no more than its distance."""

    kind: Literal["l1"] = "l1"

    tasks = ("regression",)

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        return nn.L1Loss()


class SmoothL1Config(TaskLossConfig):
    """Absolute error, rounded off by a parabola for small errors."""

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: float = Field(default=1.0, ge=0, le=1e6, description="error where the parabola ends")

    tasks = ("regression",)

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        return nn.SmoothL1Loss(beta=self.beta)


class HuberConfig(TaskLossConfig):
    """Squared error up to `delta`, absolute beyond."""

    kind: Literal["huber"] = "huber"
    delta: float = Field(default=1.0, gt=0, le=1e6, description="error where the parabola ends")

    tasks = ("regression",)

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        return nn.HuberLoss(delta=self.delta)


class Transcription(torch.nn.Module):
    """CTC of outputs that are batch first and not normalised yet."""

    def __init__(self) -> None:
        super().__init__()
        self.log_softmax = nn.LogSoftmax(2)
        # zero_infinity: a text longer than its sound has no alignment, and an infinite loss that
        # would end the whole run
        self.ctc = nn.CTCLoss(blank=BLANK, zero_infinity=True)

    def forward(
        self, input: Tensor, texts: Tensor, lengths: Tensor, text_lengths: Tensor
    ) -> Tensor:
        """Return the loss of outputs [N, T, K] against texts [N, S], both with their lengths."""
        log_probs = self.log_softmax(input).transpose(0, 1)  # [T, N, K]
        loss: Tensor = self.ctc(log_probs, texts, lengths, text_lengths)
        return loss


class CTCConfig(TaskLossConfig):
    """Likelihood of a text, summed over every alignment to its sound."""

    kind: Literal["ctc"] = "ctc"

    tasks = ("transcription",)

    def module(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits."""
        return Transcription()


KINDS: tuple[type[TaskLossConfig], ...] = (
    CrossEntropyConfig,
    BCEWithLogitsConfig,
    MSEConfig,
    L1Config,
    SmoothL1Config,
    HuberConfig,
    CTCConfig,
)


def losses_of(task: Task) -> list[type[TaskLossConfig]]:
    """Return the losses that fit a task, the one that it takes by default first."""
    return [kind for kind in KINDS if task in kind.tasks]


def default_loss(problem: Problem) -> TaskLossConfig:
    """Return the loss of a problem where the config names none."""
    return losses_of(problem.task)[0]()
