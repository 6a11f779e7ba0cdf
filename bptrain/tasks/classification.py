"""Classification: one class for each sample."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bptrain.problem import Problem
from bptrain.tasks.accuracy import MOST_CLASSES, Accuracy, confusion_of, labels_of
from bptrain.tasks.binary_scores import BINS, NAMES, counts_of_scores, ranking_metrics
from bptrain.tasks.plots import Mistake, mistakes_plot
from bptrain.tasks.task import (
    FigureBuilder,
    Prediction,
    Probabilities,
    ResultFigure,
    Task,
    Told,
    class_names,
    ratio,
)

TOP = 5
MISTAKES = "mistakes"
WORST = 24  # mistakes that are shown
NAMED = 3  # classes of a prediction, the most probable ones


class ClassificationMetric:
    """Accuracy, whether the class is among the first five, and averages over the classes.

    Of two classes also how well the outputs rank the samples. The rest follows from the confusion
    matrix's diagonal, its row sums and its column sums, so that a thousand classes cost 3,000
    numbers and not a million.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        averages = ("macro_f1", "balanced_accuracy", "macro_precision")
        of_scores = NAMES if classes == 2 else ()
        self.names = ("accuracy", *["top5"] * (classes > TOP), *averages, *of_scores)
        self.larger_is_better = self.names

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return of each class the right, the predicted and the true samples; then top-5 hits.

        Of two classes, then, the samples of each score.
        """
        labels, predicted = labels_of(targets[0]), outputs.argmax(1)
        right = (predicted == labels).double()
        counted = outputs.new_zeros(3, self.classes, dtype=torch.float64)
        counted[0].index_add_(0, labels, right)
        counted[1].index_add_(0, predicted, torch.ones_like(right))
        counted[2].index_add_(0, labels, torch.ones_like(right))
        first = outputs.topk(min(TOP, self.classes), dim=1).indices
        hits = (first == labels.unsqueeze(1)).sum().double()
        scores = [counts_of_scores(outputs, labels)] if self.classes == 2 else []
        return torch.cat([counted.view(-1), hits.view(1), *scores])

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics.

        A class that is neither true nor predicted counts in no average, and one that is never true
        not in the balanced accuracy, which is the mean recall.
        """
        classes = class_scores(sums, self.classes)
        there = [each for each in classes if each.samples + each.predicted > 0]
        recalls = [each.recall for each in there if each.samples > 0]
        right, samples = (sum(each[place] for each in classes) for place in (0, 2))
        found = {
            "accuracy": ratio(right, samples),
            "top5": ratio(sums[3 * self.classes], samples),
            "macro_f1": ratio(sum(each.f1 for each in there), len(there)),
            "balanced_accuracy": ratio(sum(recalls), len(recalls)),
            "macro_precision": ratio(sum(each.precision for each in there), len(there)),
        }
        if self.classes == 2:
            found |= ranking_metrics(sums[-2 * BINS :])
        return {name: found[name] for name in self.names}


class ClassScore(NamedTuple):
    """How many samples of a class are right, are predicted to be of it, and are of it."""

    right: float
    predicted: float
    samples: float

    @property
    def precision(self) -> float:
        """The share of the samples predicted to be of the class that are."""
        return ratio(self.right, self.predicted)

    @property
    def recall(self) -> float:
        """The share of the class's samples that are found."""
        return ratio(self.right, self.samples)

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return ratio(2 * self.right, self.predicted + self.samples)


def class_scores(sums: Sequence[float], classes: int) -> list[ClassScore]:
    """Return the scores of each class from the sums of the metric."""
    counts = (sums[start : start + classes] for start in range(0, 3 * classes, classes))
    return [ClassScore(*each) for each in zip(*counts, strict=True)]


class ClassTable:
    """Precision, recall and F1 of each class."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.metric = names, ClassificationMetric(len(names))
        self.totals: Tensor | None = None

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Add a batch."""
        sums = self.metric.sums(outputs, targets)
        self.totals = sums if self.totals is None else self.totals + sums

    def build(self) -> ResultFigure | None:
        """Return the table, a row for each class."""
        if self.totals is None:
            return None
        rows = [["class", "precision", "recall", "F1", "samples"]]
        scores = class_scores(self.totals.tolist(), len(self.names))
        for name, each in zip(self.names, scores, strict=True):
            shares = (f"{share:.4f}" for share in (each.precision, each.recall, each.f1))
            rows.append([name, *shares, f"{each.samples:,.0f}"])
        return ResultFigure("classes", rows=rows)


class WorstMistakes:
    """The misclassified images with the largest loss, -log p of their own class."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.losses: Tensor | None = None  # [at most WORST], -inf where the prediction was right
        self.images: Tensor | None = None
        self.pairs: Tensor | None = None  # [..., 2] true and predicted class

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the worst of the batch and of those before."""
        labels, predicted = labels_of(targets[0]), outputs.argmax(1)
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


def figures(problem: Problem) -> list[FigureBuilder]:
    """Return the confusion matrix, the classes' scores, and of images the worst mistakes."""
    names = class_names(problem)
    table = [ClassTable(names)] if problem.outputs <= MOST_CLASSES else []
    mistakes = [WorstMistakes(names)] if is_image(problem) else []
    return [*confusion_of(problem), *table, *mistakes]


def is_image(problem: Problem) -> bool:
    """Tell whether the inputs are pictures: gray or color, [1 or 3, H, W]."""
    shape = problem.input_shape
    has_pixels = not (problem.is_sequence or problem.vocabulary)
    return has_pixels and len(shape) == 3 and shape[0] in (1, 3)


def predictions(
    outputs: Tensor,
    lengths: Tensor,
    problem: Problem,
    probabilities: Callable[[Tensor], Tensor],
) -> Iterator[Prediction]:
    """Yield for each sample the most probable class, and the first few with their probability."""
    names = class_names(problem)
    values, classes = probabilities(outputs).double().topk(min(NAMED, len(names)), dim=1)
    for row, indices in zip(values.tolist(), classes.tolist(), strict=True):
        first = [
            {"class": names[index], "probability": value}
            for value, index in zip(row, indices, strict=True)
        ]
        yield {**first[0], "top": first}


def tell(
    outputs: Tensor, targets: tuple[Tensor, ...], problem: Problem, probabilities: Probabilities
) -> Iterator[Told]:
    """Yield the true class and the most probable one, with the probability of each."""
    names = class_names(problem)
    labels, predicted = labels_of(targets[0]).tolist(), outputs.argmax(1).tolist()
    rows = probabilities(outputs.float()).tolist()
    for pair, shares in zip(zip(labels, predicted, strict=True), rows, strict=True):
        yield Told(*(f"{names[number]} ({shares[number]:.1%})" for number in pair))


CLASSIFICATION = Task(
    losses=("cross_entropy", "bce_with_logits", "mse"),
    training_metric=lambda problem: Accuracy(),
    evaluation_metric=lambda problem: ClassificationMetric(problem.outputs),
    figures=figures,
    predictions=predictions,
    tell=tell,
    constant="majority_class",
)
