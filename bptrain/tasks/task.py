"""What every task offers: metrics, figures, predictions.

Metrics are sums that add up over batches on the device, so that a whole evaluation is read in one
host copy. A task has a cheap metric for the training steps and a full one for evaluation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from bptrain.plots.canvas import Picture
from bptrain.problem import Problem
from bptrain.tasks.decision import BY_SOFTMAX, Decision

IGNORED = -100  # the class of a time step that does not count
Prediction: TypeAlias = dict[str, Any]  # plain values by column


class Metric(Protocol):
    """Metrics besides the loss."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each metric, the most important one first."""
        ...

    @property
    def larger_is_better(self) -> tuple[str, ...]:
        """Names of the metrics of which a larger value is better; of the others a smaller one."""
        ...

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return what adds up over batches [m], in float64."""
        ...

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics by name from the sums over all batches."""
        ...


class NoMetric:
    """No metric besides the loss."""

    names = ()
    larger_is_better = ()

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return no sums [0]."""
        return outputs.new_zeros(0, dtype=torch.float64)

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return nothing."""
        return {}


@dataclass(frozen=True)
class ResultFigure:
    """One result of an evaluation: a picture, or a table (its first row the heading), or both."""

    name: str
    picture: Picture | None = None
    rows: Sequence[Sequence[str]] = ()


class FigureBuilder(Protocol):
    """Collects what a figure shows from the batches of an evaluation."""

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Add a batch, without waiting for the device."""
        ...

    def build(self) -> ResultFigure | None:
        """Return the figure, on the host; None if there is nothing to show."""
        ...


class PredictionWriter(Protocol):
    """Turns outputs into predictions."""

    def __call__(
        self,
        outputs: Tensor,
        lengths: Tensor,
        problem: Problem,
        decision: Decision,
    ) -> Iterator[Prediction]:
        """Yield the prediction for each sample of a batch.

        outputs   [N, ...] of the model
        lengths   [N] time steps of each sample that count
        decision  how outputs become classes
        """
        ...


class Described(NamedTuple):
    """What a sample's target says, and what was predicted, in words."""

    true: str
    predicted: str


class Describe(Protocol):
    """Puts outputs and targets into words."""

    def __call__(
        self,
        outputs: Tensor,
        targets: tuple[Tensor, ...],
        problem: Problem,
        decision: Decision,
    ) -> Iterator[Described]:
        """Yield what is true of each sample of a batch, and what is predicted."""
        ...


class MetricOf(Protocol):
    """Makes the metrics of an evaluation."""

    def __call__(self, problem: Problem, decision: Decision = BY_SOFTMAX) -> Metric:
        """Return the metrics of a problem whose outputs become classes by a decision."""
        ...


class FiguresOf(Protocol):
    """Makes the figures of an evaluation."""

    def __call__(self, problem: Problem, decision: Decision = BY_SOFTMAX) -> list[FigureBuilder]:
        """Return the figures of a problem whose outputs become classes by a decision."""
        ...


@dataclass(frozen=True)
class Task:
    """A kind of problem.

    losses             kinds that fit it; the first is used where the config names none
    training_metric    cheap, computed at every training step
    evaluation_metric  of the validation and the test split
    figures            what is shown of an evaluation
    predictions        of a batch; None where the model writes text instead
    tell               in words, what is true of samples and what is predicted
    constant           name of the best prediction that is the same for every sample, which a run is
                       compared with; None where there is none
    metric_of_likelihood  the training metric where the loss is the mean negative log-likelihood, if
                       it follows from that: then nobody reads the outputs of a training step
    """

    losses: tuple[str, ...]
    training_metric: Callable[[Problem], Metric]
    evaluation_metric: MetricOf
    figures: FiguresOf
    predictions: PredictionWriter | None
    describe: Describe
    constant: str | None = None
    metric_of_likelihood: Metric | None = None

    def metric_in_training(self, problem: Problem, is_likelihood: bool) -> Metric:
        """Return the metric of the training steps.

        is_likelihood  whether the loss is the mean negative log-likelihood of the targets
        """
        if is_likelihood and self.metric_of_likelihood is not None:
            return self.metric_of_likelihood
        return self.training_metric(problem)

    @property
    def generates_text(self) -> bool:
        """Whether its model continues a text."""
        return self.predictions is None


def class_names(problem: Problem) -> tuple[str, ...]:
    """Return a name for each class, column or symbol: its number where it has none."""
    numbers = (str(number) for number in range(len(problem.names), problem.outputs))
    return (*problem.names[: problem.outputs], *numbers)


def ratio(part: float, whole: float) -> float:
    """Return part / whole, 0 where the whole is 0."""
    return part / whole if whole else 0.0
