"""The measures of each task, as sums that add up over batches on the device."""

import torch
from torch import Tensor

from bptrain.problem import Problem


class Accuracy:
    """The share of samples whose largest output [N, K] is that of their class [N]."""

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return how many are right, and how many there are."""
        right = outputs.argmax(1) == targets[0]
        count = right.new_full((), right.numel(), dtype=torch.float64)
        return torch.stack([right.sum().double(), count])

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the accuracy."""
        right, count = sums
        return {"accuracy": right / count}


def metric_of(problem: Problem) -> Accuracy:
    """Return the metric of a problem."""
    assert problem.task == "classification"
    return Accuracy()
