"""How well the scores of classes rank the samples: ROC AUC and average precision.

Both depend on the order of all scores, which no sum over batches keeps. So scores are counted in
bins: the score of a class is the log-odds of its probability, log(p / (1 - p)), and samples in one
bin are tied.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.task import ratio

MOST_RANKED = 100  # classes: more would take megabytes in every batch
CHANCE = 0.5  # ROC AUC of scores that say nothing, and where there is nothing to rank
LIMIT = 32  # beyond +-32, odds of 10^14, all scores are in the outermost bins


@dataclass(frozen=True)
class Bins:
    """Equally wide bins of scores from -LIMIT to LIMIT, their number even."""

    count: int

    def of(self, scores: Tensor) -> Tensor:
        """Return the bin of each score, counted from 0."""
        half = self.count // 2
        places = (scores.nan_to_num() * half / LIMIT).floor().clamp(-half, half - 1)
        return places.long() + half

    @property
    def edges(self) -> Tensor:
        """The lower edge of each bin."""
        half = self.count // 2
        return torch.arange(-half, half, dtype=torch.float64) * LIMIT / half


OF_TWO = Bins(4096)  # 1/64 wide
OF_EACH = Bins(2048)  # 1/32 wide, where each class has its own


class ClassRanking:
    """ROC AUC and average precision of the second of two classes, or ROC AUC of each of several.

    Of several classes it is the mean over the classes, each against all others together, without
    those that all samples or none are of.
    """

    larger_is_better: tuple[str, ...]

    def __init__(self, classes: int, decision: Decision = BY_SOFTMAX) -> None:
        self.decision = decision
        self.scored = [1] if classes == 2 else list(range(classes))
        self.bins = OF_TWO if classes == 2 else OF_EACH
        self.names: tuple[str, ...] = ("macro_roc_auc",)
        if classes == 2:
            self.names = ("roc_auc", "average_precision")
        elif classes > MOST_RANKED or classes == 1:
            self.names, self.scored = (), []
        self.larger_is_better = self.names

    @property
    def size(self) -> int:
        """The number of sums."""
        return len(self.scored) * 2 * self.bins.count

    def sums(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the samples in each bin: of each scored class those of others, then its own."""
        counts = outputs.new_zeros(self.size, dtype=torch.float64)
        if not self.scored:
            return counts
        # float64: float32 rounds the odds of sure predictions to infinity
        shares = self.decision.probabilities(outputs.double())
        classes = torch.tensor(self.scored, device=outputs.device)
        bins = self.bins.of(shares[:, classes].logit())
        own = (labels.unsqueeze(1) == classes).long()
        rows = 2 * torch.arange(len(classes), device=outputs.device) + own
        places = (rows * self.bins.count + bins).view(-1)
        return counts.index_add_(0, places, torch.ones_like(places, dtype=torch.float64))

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics."""
        if not self.scored:
            return {}
        counts = self.counts(sums)
        if len(self.scored) == 1:
            area, precision = roc_auc(*counts[0]), precision_of(*counts[0])
            return {"roc_auc": CHANCE if area is None else area, "average_precision": precision}
        areas = [area for others, own in counts if (area := roc_auc(others, own)) is not None]
        return {"macro_roc_auc": sum(areas) / len(areas) if areas else CHANCE}

    def counts(self, sums: list[float]) -> Tensor:
        """Return the samples in each bin, of each scored class others and its own [C, 2, bins]."""
        # by NumPy: torch.tensor takes five times as long for a list
        return torch.from_numpy(np.array(sums, np.float64)).view(-1, 2, self.bins.count)


def roc_auc(others: Tensor, own: Tensor) -> float | None:
    """Return the share of pairs, a sample of a class and another, that are in the right order.

    A tie counts half. None where there is no pair.

    others, own  samples in each bin, from the lowest score to the highest
    """
    pairs = float(own.sum() * others.sum())
    below = others.cumsum(0) - others / 2
    return float((own * below).sum()) / pairs if pairs else None


def precision_of(others: Tensor, own: Tensor) -> float:
    """Return the average precision: over thresholds, the recall that each adds times the precision.

    0 where the class has no samples.
    """
    found, others_above = (each.flip(0).cumsum(0) for each in (own, others))
    precision = found / (found + others_above).clamp(min=1)
    return ratio(float((own.flip(0) * precision).sum()), float(own.sum()))
