"""How well the scores of two classes rank the samples: ROC AUC and average precision.

Both depend on the order of all scores, which no sum over batches keeps. So scores are counted in
bins: the score of a sample is the difference of its two outputs, after cross-entropy the log-odds
of the second class, and samples within 1/64 of each other are tied.
"""

import torch
from torch import Tensor

from bptrain.tasks.task import ratio

NAMES = ("roc_auc", "average_precision")
BINS = 4096
WIDTH = 1 / 64  # of a bin; beyond +-32, odds of 10^14, all are in the outermost bins


def counts_of_scores(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return how many samples of each class [2] are in each bin, flat [2 * BINS]."""
    scores = (outputs[:, 1].float() - outputs[:, 0].float()).nan_to_num()
    bins = (scores / WIDTH).floor().clamp(-BINS // 2, BINS // 2 - 1).long() + BINS // 2
    counts = outputs.new_zeros(2 * BINS, dtype=torch.float64)
    return counts.index_add_(0, labels * BINS + bins, torch.ones_like(scores).double())


def ranking_metrics(counts: list[float]) -> dict[str, float]:
    """Return both metrics from the counts of all samples.

    roc_auc            the share of pairs, one sample of each class, that are in the right order;
                       a tie counts half. 0.5 where a class has no samples
    average_precision  of the second class: the sum over thresholds of the recall that each adds,
                       times the precision there. 0 where it has no samples
    """
    first, second = torch.tensor(counts, dtype=torch.float64).view(2, -1).flip(1)
    negatives, positives = first.sum(), second.sum()
    found, above = second.cumsum(0), first.cumsum(0)  # with a score of a bin or a higher one
    pairs = float((second * (negatives - above + first / 2)).sum())
    precision = found / (found + above).clamp(min=1)
    whole = float(positives * negatives)
    return {
        "roc_auc": pairs / whole if whole else 0.5,
        "average_precision": ratio(float((second * precision).sum()), float(positives)),
    }
