"""The decision threshold of two classes that is best for the samples of an evaluation."""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.tasks.class_ranking import OF_TWO
from bptrain.tasks.decision import Maximized

ROUNDING = 1e-12  # two thresholds whose metrics differ by less are equally good


class Choice(NamedTuple):
    """A threshold, and how it decides.

    counts  of both classes the right, the predicted and the true samples, flat [6]
    """

    threshold: float
    counts: list[float]


def choose_threshold(first: Tensor, second: Tensor, maximizes: Maximized) -> Choice:
    """Return the threshold with the largest metric; of equally good ones the nearest to 0.5.

    first, second  samples of both classes in each bin of the second class's log-odds
    """
    negatives, positives = first.sum(), second.sum()
    # of the samples that each bin's lower edge decides to be of the second class
    found, wrong = (each.flip(0).cumsum(0).flip(0) for each in (second, first))
    if maximizes == "f1":
        metric = 2 * found / (found + wrong + positives).clamp(min=1)
    else:
        rejected = negatives - wrong
        metric = found / positives.clamp(min=1) + rejected / negatives.clamp(min=1)
    edges = OF_TWO.edges
    is_best = metric >= metric.max() - ROUNDING
    place = int(edges.abs().where(is_best, torch.full_like(edges, torch.inf)).argmin())
    # the lowest bin has no lower edge: it holds all odds below
    threshold = float(edges[place].sigmoid()) if place else 0.0
    is_second, is_wrong = found[place], wrong[place]
    right = [negatives - is_wrong, is_second]
    predicted = [negatives - is_wrong + positives - is_second, is_second + is_wrong]
    counts = torch.stack([*right, *predicted, negatives, positives])
    return Choice(threshold, counts.tolist())
