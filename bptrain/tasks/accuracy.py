"""Accuracy and the confusion matrix, of samples or of time steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.problem import Problem
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.plots import confusion_plot
from bptrain.tasks.task import IGNORED, Described, FigureBuilder, ResultFigure, class_names, ratio

MOST_CLASSES = 100  # of a confusion matrix: a larger one is a gray square
MOST_IN_TABLE = 20  # classes of one that is also written as a table


class Accuracy:
    """The share of samples, or time steps, whose largest output [..., K] is that of their class."""

    names = ("accuracy",)
    larger_is_better = names

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return how many are right, and how many count."""
        labels = labels_of(targets[0])
        counts = labels != IGNORED
        right = (outputs.argmax(-1) == labels) & counts
        return torch.stack([right.sum(), counts.sum()]).double()

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the accuracy."""
        return {"accuracy": ratio(*sums)}


class ConfusionMatrix:
    """How often each class was predicted as which, over samples or time steps."""

    def __init__(self, names: Sequence[str], decision: Decision = BY_SOFTMAX) -> None:
        self.names, self.decision = names, decision
        self.counts: Tensor | None = None

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Count the pairs of true and predicted class."""
        classes = len(self.names)
        if self.counts is None:
            self.counts = outputs.new_zeros(classes * classes, dtype=torch.int64)
        labels = labels_of(targets[0]).flatten()
        counts = labels != IGNORED
        pairs = labels * counts * classes + self.decision.classes(outputs).flatten()
        self.counts.index_add_(0, pairs, counts.long())

    def build(self) -> ResultFigure | None:
        """Return the matrix, a row for each true class."""
        if self.counts is None:
            return None
        matrix = self.counts.view(len(self.names), -1).cpu().numpy()
        rows: list[list[str]] = []
        if len(self.names) <= MOST_IN_TABLE:
            rows = [["true \\ predicted", *self.names]]
            for name, row in zip(self.names, matrix.tolist(), strict=True):
                rows.append([name, *(str(count) if count else "." for count in row)])
        return ResultFigure("confusion", confusion_plot(matrix, self.names), rows)


def confusion_of(problem: Problem, decision: Decision = BY_SOFTMAX) -> list[FigureBuilder]:
    """Return the confusion matrix of a problem, if it is small enough to be read."""
    few = problem.outputs <= MOST_CLASSES
    return [ConfusionMatrix(class_names(problem), decision)] if few else []


def told_steps(
    outputs: Tensor, classes: Tensor, names: Sequence[str], between: str
) -> Iterator[Described]:
    """Yield the true and the predicted classes of outputs [N, T, K], of the steps that count."""
    for true, predicted in zip(classes.tolist(), outputs.argmax(-1).tolist(), strict=True):
        pairs = [pair for pair in zip(true, predicted, strict=True) if pair[0] != IGNORED]
        yield Described(*(between.join(names[pair[side]] for pair in pairs) for side in (0, 1)))


def labels_of(target: Tensor) -> Tensor:
    """Return the classes of targets that are classes, or probabilities [..., K] of them."""
    return target.argmax(-1) if target.is_floating_point() else target
