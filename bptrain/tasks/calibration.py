"""Whether predicted probabilities are right: Brier score, calibration error, reliability diagram.

Confidence is the largest probability of a sample. A network is calibrated if, of the predictions
with a confidence of 0.8, a share of 0.8 is right. With bins of confidence b, each 1 / 15 wide, with
n_b of N samples, of which a share a_b is right at a mean confidence c_b, the expected calibration
error is

    ECE = sum_b n_b / N |a_b - c_b|                                     Guo et al. 2017, eq. 3

The Brier score is the mean over the samples of sum_k (p_k - t_k)^2, where t_k is 1 for the true
class and else 0. Of two classes it is half of that: (p - t)^2 of the second class where both
probabilities sum to 1, so that always answering 0.5 has 0.25. scikit-learn defines both so.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.tasks.accuracy import labels_of
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.plots import reliability_plot
from bptrain.tasks.task import ResultFigure, ratio

BINS = 15  # of confidence, equally wide
RELIABILITY = "reliability"


class Calibration:
    """Brier score and expected calibration error of outputs [N, K]; smaller is better."""

    names = ("brier_score", "ece")
    larger_is_better = ()

    def __init__(self, classes: int, decision: Decision = BY_SOFTMAX) -> None:
        self.classes, self.decision = classes, decision

    @property
    def size(self) -> int:
        """The number of sums."""
        return 1 + 3 * BINS

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the Brier scores' sum; of each bin samples, right ones, sum of confidences."""
        shares = self.decision.probabilities(outputs.double())
        distances = shares.clone()
        distances[torch.arange(len(labels), device=labels.device), labels] -= 1
        confidence, predicted = shares.max(1)
        # NaN, of a network that diverged, is in the first bin, and makes both metrics NaN
        bins = (confidence * BINS).nan_to_num().clamp(0, BINS - 1).long()
        counted = shares.new_zeros(3, BINS)
        counted[0].index_add_(0, bins, torch.ones_like(confidence))
        counted[1].index_add_(0, bins, (predicted == labels).double())
        counted[2].index_add_(0, bins, confidence)
        return torch.cat([distances.square().sum().view(1), counted.view(-1)])

    def values(self, sums: Sequence[float]) -> dict[str, float]:
        """Return both metrics."""
        samples, right, confidence = columns_of(sums)
        whole = sum(samples)
        gaps = sum(abs(one - other) for one, other in zip(right, confidence, strict=True))
        scale = 0.5 if self.classes == 2 else 1.0
        return {"brier_score": ratio(scale * sums[0], whole), "ece": ratio(gaps, whole)}


def columns_of(sums: Sequence[float]) -> tuple[Sequence[float], ...]:
    """Return of each bin the samples, the right ones and the sum of their confidences."""
    return tuple(sums[start : start + BINS] for start in range(1, 1 + 3 * BINS, BINS))


class ReliabilityDiagram:
    """The share of right predictions over their confidence, in the bins of the ECE."""

    def __init__(self, classes: int, decision: Decision = BY_SOFTMAX) -> None:
        self.metric = Calibration(classes, decision)
        self.totals: Tensor | None = None

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Add a batch."""
        sums = self.metric.sums(outputs, labels_of(targets[0]))
        self.totals = sums if self.totals is None else self.totals + sums

    def build(self) -> ResultFigure | None:
        """Return the diagram."""
        if self.totals is None:
            return None
        sums = self.totals.tolist()
        samples, right, confidence = columns_of(sums)
        ece = self.metric.values(sums)["ece"]
        return ResultFigure(RELIABILITY, reliability_plot(samples, right, confidence, ece))
