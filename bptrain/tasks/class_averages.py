"""Accuracy, and averages over the classes of precision, recall and F1."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.task import ratio

TOP = 5


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


class ClassAverages:
    """Accuracy, whether the class is among the first five, and averages over the classes.

    They follow from the confusion matrix's diagonal, its row sums and its column sums, so that a
    thousand classes cost 3,000 numbers and not a million.
    """

    def __init__(self, classes: int, decision: Decision = BY_SOFTMAX) -> None:
        self.classes, self.decision = classes, decision
        averages = ("macro_f1", "balanced_accuracy", "macro_precision")
        self.names = ("accuracy", *["top5"] * (classes > TOP), *averages)
        self.larger_is_better = self.names

    @property
    def size(self) -> int:
        """The number of sums."""
        return 3 * self.classes + 1

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return of each class the right, the predicted and the true samples; then top-5 hits."""
        predicted = self.decision.classes(outputs)
        right = (predicted == labels).double()
        counted = outputs.new_zeros(3, self.classes, dtype=torch.float64)
        counted[0].index_add_(0, labels, right)
        counted[1].index_add_(0, predicted, torch.ones_like(right))
        counted[2].index_add_(0, labels, torch.ones_like(right))
        first = outputs.topk(min(TOP, self.classes), dim=1).indices
        hits = (first == labels.unsqueeze(1)).sum().double()
        return torch.cat([counted.view(-1), hits.view(1)])

    def values(self, sums: Sequence[float]) -> dict[str, float]:
        """Return the metrics.

        A class that is neither true nor predicted counts in no average, and one that is never true
        not in the balanced accuracy, which is the mean recall.
        """
        classes = self.scores(sums)
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
        return {name: found[name] for name in self.names}

    def scores(self, sums: Sequence[float]) -> list[ClassScore]:
        """Return the scores of each class."""
        starts = range(0, 3 * self.classes, self.classes)
        counts = (sums[start : start + self.classes] for start in starts)
        return [ClassScore(*each) for each in zip(*counts, strict=True)]
