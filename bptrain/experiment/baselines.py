"""Baselines: simple predictions from the training samples, which a run has to beat.

Every task but transcription has a constant one: the class that is most frequent, the mean, the
frequencies of the tokens. Tables have a linear model too, by scikit-learn, and texts the
frequencies of pairs of tokens. All of them are functions of the training split alone, so that a
resumed run and `evaluate` find the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from bptrain import tags
from bptrain.data.splits import Samples
from bptrain.data.tables.table_config import TableConfig
from bptrain.data.text.text_stream import TextStream
from bptrain.experiment.bigram_baseline import bigram_model
from bptrain.experiment.build import Experiment
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.data_facts import class_shares
from bptrain.experiment.linear_baseline import linear_model
from bptrain.experiment.loss_choice import choose_loss
from bptrain.losses import BaseLossConfig
from bptrain.monitor.console import format_values
from bptrain.problem import Problem
from bptrain.tasks import task_of
from bptrain.train.evaluate import Metric

SPLITS = {"test": "test", "val": "validation"}


class Baseline(Protocol):
    """Something that predicts.

    name  as in a tag
    note  in words what it was made from, where that is not all training samples
    """

    @property
    def name(self) -> str: ...  # noqa: D102  said above

    @property
    def note(self) -> str: ...  # noqa: D102  said above

    def outputs(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return its outputs for a batch, of which it may read only the targets' shape."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same outputs [K] for every sample, or time step."""

    name: str
    constant: Tensor
    note: str = ""

    def outputs(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the constant in the shape of the targets' outputs."""
        true = targets[0]
        shape = true.shape if true.is_floating_point() else (*true.shape, len(self.constant))
        return self.constant.to(true.device).expand(shape)


class BaselineResult(NamedTuple):
    """The metrics of a baseline by name, on the samples of an evaluation."""

    name: str
    note: str
    metrics: dict[str, float]

    @property
    def values(self) -> dict[str, float]:
        """The metrics by tag."""
        return tags.of_baseline(self.name, self.metrics)

    @property
    def title(self) -> str:
        """The name as a person reads it."""
        return self.name.replace("_", " ")

    @property
    def summary(self) -> str:
        """The metrics on one line."""
        text = format_values(tags.of_split("test", self.metrics))
        return f"baseline {self.title}: {text}{f'  ({self.note})' if self.note else ''}"


@dataclass
class BaselineWatch:
    """Watches an evaluation, and evaluates a baseline on the same samples."""

    baseline: Baseline
    metric: Metric
    totals: Tensor | float = field(default=0.0)

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Add a batch."""
        predicted = self.baseline.outputs(inputs, targets)
        self.totals = self.totals + self.metric.sums(predicted, targets)

    def result(self) -> BaselineResult:
        """Return the metrics over all batches, of which there must be one."""
        assert isinstance(self.totals, Tensor)
        found = self.metric.values(self.totals.tolist())
        return BaselineResult(self.baseline.name, self.baseline.note, found)


def baselines_of(experiment: Experiment) -> list[Baseline]:
    """Return the baselines of an experiment, made from its training samples."""
    problem, train = experiment.dataset.problem, experiment.dataset.train
    loss = choose_loss(experiment.config.loss, problem)
    found: list[Baseline] = []
    name = task_of(problem).constant
    if name is not None:
        found.append(Constant(name, constant_outputs(train.targets, problem, loss)))
    if isinstance(experiment.config.data, TableConfig) and isinstance(train, Samples):
        found += linear_model(train, problem, loss)
    if isinstance(train, TextStream):
        found += bigram_model(train, problem.outputs, loss)
    return found


def constant_outputs(targets: Tensor, problem: Problem, loss: BaseLossConfig) -> Tensor:
    """Return the outputs [K] of the mean, or of the classes' shares, of training targets."""
    if problem.output_kind.targets == "numbers":
        return targets.reshape(-1, targets.shape[-1]).double().mean(0)
    return loss.outputs_meaning(class_shares([targets.flatten().long()], problem.outputs))


def deciding_metric(config: ExperimentConfig, metric: Metric, split: tags.Split) -> tags.Ranking:
    """Return the metric of a split that decides whether a run beats a baseline.

    It is the one that chooses the best state or, where that is the loss, the task's main metric.
    """
    chosen = config.checkpoint.best_by.partition("/")[2]
    name = chosen if chosen in metric.names else next(iter(metric.names), "loss")
    return tags.Ranking(tags.split_tag(split, name), name in metric.larger_is_better)


def not_beaten(
    values: dict[str, float], results: Sequence[BaselineResult], ranking: tags.Ranking
) -> list[str]:
    """Return a line for each baseline that a run with these metrics by tag does not beat."""
    split, _, name = ranking.tag.partition("/")
    ours = values.get(ranking.tag)

    def formatted(value: float) -> str:
        return format_values({tags.split_tag("test", name): value})

    return [
        f"the run does not beat the baseline {each.title}: {formatted(ours)} of the "
        f"{SPLITS[split]} samples, the baseline's {formatted(theirs)}"
        for each in results
        if ours is not None
        and (theirs := each.metrics.get(name)) is not None
        and not ranking.is_better(ours, theirs)
    ]
