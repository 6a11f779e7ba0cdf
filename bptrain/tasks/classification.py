"""Classification: one class for each sample."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bptrain.problem import Problem
from bptrain.tasks.accuracy import MOST_CLASSES, Accuracy, confusion_of, labels_of
from bptrain.tasks.calibration import Calibration, ReliabilityDiagram
from bptrain.tasks.class_averages import ClassAverages
from bptrain.tasks.class_ranking import ClassRanking
from bptrain.tasks.decision import BY_SOFTMAX, Decision, Maximized
from bptrain.tasks.plots import Mistake, mistakes_plot
from bptrain.tasks.task import (
    Described,
    FigureBuilder,
    Metric,
    Prediction,
    ResultFigure,
    Task,
    class_names,
)
from bptrain.tasks.threshold import choose_threshold

MISTAKES = "mistakes"
WORST = 24  # mistakes that are shown
NAMED = 3  # classes of a prediction, the most probable ones


class ClassificationMetric:
    """Averages over the classes, how well the outputs rank the samples, and calibration.

    Where the decision chooses a threshold, `threshold` is among the values, and the averages are
    those at this threshold.
    """

    def __init__(self, classes: int, decision: Decision = BY_SOFTMAX) -> None:
        assert classes == 2 or (decision.threshold, decision.maximizes) == (None, None)
        self.decision = decision
        self.averages = ClassAverages(classes, decision)
        self.ranking = ClassRanking(classes, decision)
        self.parts = (self.averages, self.ranking, Calibration(classes, decision))
        self.names = tuple(name for part in self.parts for name in part.names)
        better = (name for part in self.parts for name in part.larger_is_better)
        self.larger_is_better = tuple(better)

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the sums of each part."""
        labels = labels_of(targets[0])
        return torch.cat([part.sums(outputs, labels) for part in self.parts])

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics."""
        found: dict[str, float] = {}
        start = 0
        for part in self.parts:
            of_part = sums[start : start + part.size]
            found |= part.values(of_part)
            start += part.size
            if part is self.ranking and self.decision.maximizes is not None:
                found |= self._at_best_threshold(of_part, self.decision.maximizes)
        return found

    def _at_best_threshold(self, sums: list[float], maximizes: Maximized) -> dict[str, float]:
        """Return the threshold that is best, and the averages over the classes at it."""
        first, second = self.ranking.counts(sums)[0]
        threshold, counts = choose_threshold(first, second, maximizes)
        return {**self.averages.values([*counts, 0.0]), "threshold": threshold}


class ClassTable:
    """Precision, recall and F1 of each class."""

    def __init__(self, names: Sequence[str], decision: Decision = BY_SOFTMAX) -> None:
        self.names, self.metric = names, ClassAverages(len(names), decision)
        self.totals: Tensor | None = None

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Add a batch."""
        sums = self.metric.sums(outputs, labels_of(targets[0]))
        self.totals = sums if self.totals is None else self.totals + sums

    def build(self) -> ResultFigure | None:
        """Return the table, a row for each class."""
        if self.totals is None:
            return None
        rows = [["class", "precision", "recall", "F1", "samples"]]
        scores = self.metric.scores(self.totals.tolist())
        for name, each in zip(self.names, scores, strict=True):
            shares = (f"{share:.4f}" for share in (each.precision, each.recall, each.f1))
            rows.append([name, *shares, f"{each.samples:,.0f}"])
        return ResultFigure("classes", rows=rows)


class WorstMistakes:
    """The misclassified images with the largest loss, -log p of their own class."""

    def __init__(self, names: Sequence[str], decision: Decision = BY_SOFTMAX) -> None:
        self.names, self.decision = names, decision
        self.losses: Tensor | None = None  # [at most WORST], -inf where the prediction was right
        self.images: Tensor | None = None
        self.pairs: Tensor | None = None  # [..., 2] true and predicted class

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the worst of the batch and of those before."""
        labels, predicted = labels_of(targets[0]), self.decision.classes(outputs)
        losses = functional.cross_entropy(outputs.float(), labels, reduction="none")
        losses = losses.where(predicted != labels, -torch.inf)
        images, pairs = inputs[0], torch.stack([labels, predicted], 1)
        if self.losses is not None and self.images is not None and self.pairs is not None:
            losses = torch.cat([self.losses, losses])
            images = torch.cat([self.images, images])
            pairs = torch.cat([self.pairs, pairs])
        self.losses, worst = losses.topk(min(WORST, len(losses)))
        self.images, self.pairs = images[worst], pairs[worst]

    def build(self) -> ResultFigure | None:
        """Return the images, the worst one first; None if every prediction was right."""
        if self.losses is None or self.images is None or self.pairs is None:
            return None
        each = zip(
            self.losses.tolist(), self.images.float().cpu(), self.pairs.tolist(), strict=True
        )
        mistakes = [
            Mistake(pixels.numpy(), self.names[true], self.names[predicted], loss)
            for loss, pixels, (true, predicted) in each
            if loss > -torch.inf
        ]
        return ResultFigure(MISTAKES, mistakes_plot(mistakes)) if mistakes else None


def figures(problem: Problem, decision: Decision = BY_SOFTMAX) -> list[FigureBuilder]:
    """Return the confusion matrix, the classes' scores, how reliable the probabilities are.

    Of images also the worst mistakes.
    """
    names = class_names(problem)
    table = [ClassTable(names, decision)] if problem.outputs <= MOST_CLASSES else []
    reliability = ReliabilityDiagram(problem.outputs, decision)
    mistakes = [WorstMistakes(names, decision)] if is_image(problem) else []
    return [*confusion_of(problem, decision), *table, reliability, *mistakes]


def is_image(problem: Problem) -> bool:
    """Tell whether the inputs are pictures: gray or color, [1 or 3, H, W]."""
    shape = problem.input_shape
    has_pixels = not (problem.is_sequence or problem.vocabulary)
    return has_pixels and len(shape) == 3 and shape[0] in (1, 3)


def predictions(
    outputs: Tensor,
    lengths: Tensor,
    problem: Problem,
    decision: Decision,
) -> Iterator[Prediction]:
    """Yield for each sample the predicted class, and the most probable ones with it.

    Without a threshold the predicted class is the most probable one.
    """
    names = class_names(problem)
    shares = decision.probabilities(outputs).double()
    values, classes = shares.topk(min(NAMED, len(names)), dim=1)
    if decision.threshold is not None:  # of two classes, of which the less probable may be first
        classes = decision.classes(outputs).unsqueeze(1)
        classes = torch.cat([classes, 1 - classes], 1)
        values = shares.gather(1, classes)
    for row, indices in zip(values.tolist(), classes.tolist(), strict=True):
        first = [
            {"class": names[index], "probability": value}
            for value, index in zip(row, indices, strict=True)
        ]
        yield {**first[0], "top": first}


def describe(
    outputs: Tensor, targets: tuple[Tensor, ...], problem: Problem, decision: Decision
) -> Iterator[Described]:
    """Yield the true class and the predicted one, with the probability of each."""
    names = class_names(problem)
    labels, predicted = labels_of(targets[0]).tolist(), decision.classes(outputs).tolist()
    rows = decision.probabilities(outputs.float()).tolist()
    for pair, shares in zip(zip(labels, predicted, strict=True), rows, strict=True):
        yield Described(*(f"{names[number]} ({shares[number]:.1%})" for number in pair))


def evaluation_metric(problem: Problem, decision: Decision = BY_SOFTMAX) -> Metric:
    """Return the metrics of a problem."""
    return ClassificationMetric(problem.outputs, decision)


CLASSIFICATION = Task(
    losses=("cross_entropy", "bce_with_logits", "mse"),
    training_metric=lambda problem: Accuracy(),
    evaluation_metric=evaluation_metric,
    figures=figures,
    predictions=predictions,
    describe=describe,
    constant="majority_class",
)
