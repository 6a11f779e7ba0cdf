"""Regression: real numbers for each sample."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.problem import Problem
from bptrain.tasks.plots import scatter_plot
from bptrain.tasks.task import Prediction, ResultFigure, Task, class_names, ratio

MOST_COLUMNS = 6  # that are plotted


class AbsoluteError:
    """The mean distance of outputs [N, O] from their targets [N, O], times `scale`."""

    names = ("mae",)
    larger_is_better = ()

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of the distances, and how many there are."""
        errors = (outputs - targets[0]).abs().double()
        return torch.stack([errors.sum(), errors.new_tensor(errors.numel())])

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the mean absolute error."""
        return {"mae": self.scale * ratio(*sums)}


class RegressionMetric:
    """Errors of outputs [N, O], and R^2: the share of the targets' variance that is explained.

    R^2 is each column's own, then their mean. A column that is constant has no variance: 1 if it
    is predicted without error, else 0. R^2 has no unit; the errors are multiplied by `scale`.
    """

    names = ("mae", "rmse", "r2")
    larger_is_better = ("r2",)

    def __init__(self, columns: int, scale: float = 1.0) -> None:
        self.columns, self.scale = columns, scale

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return of each column n, sum |e|, sum e^2, sum t and sum t^2."""
        # float64 before the square: sum t^2 - (sum t)^2 / n cancels where t is far from 0
        true = targets[0].double().view(-1, self.columns)
        errors = outputs.double().view(-1, self.columns) - true
        each = [torch.ones_like(true), errors.abs(), errors.square(), true, true.square()]
        return torch.stack([values.sum(0) for values in each]).view(-1)

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics."""
        count, absolute, squared, true, true_squared = (
            sums[start : start + self.columns] for start in range(0, 5 * self.columns, self.columns)
        )
        scores = []
        for n, error, total, square in zip(count, squared, true, true_squared, strict=True):
            variation = square - total * total / n
            # what rounding leaves of a constant column's variation is not variation
            constant = variation <= 1e-12 * square
            scores.append(float(error == 0) if constant else 1 - error / variation)
        return {
            "mae": self.scale * sum(absolute) / sum(count),
            "rmse": self.scale * (sum(squared) / sum(count)) ** 0.5,
            "r2": sum(scores) / self.columns,
        }


class PredictedOverTrue:
    """Predicted over true values, in the targets' own unit: offset + scale * value."""

    def __init__(self, names: Sequence[str], offset: float = 0.0, scale: float = 1.0) -> None:
        self.names, self.offset, self.scale = names[:MOST_COLUMNS], offset, scale
        self.pairs: list[Tensor] = []  # [2, B, columns]

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the values of the first columns."""
        columns = slice(0, len(self.names))
        self.pairs.append(torch.stack([targets[0][:, columns], outputs[:, columns]]))

    def build(self) -> ResultFigure | None:
        """Return a plot for each column."""
        if not self.pairs:
            return None
        pairs = torch.cat(self.pairs, 1).double().cpu() * self.scale + self.offset
        true, predicted = pairs.numpy()
        return ResultFigure("predictions", scatter_plot(true, predicted, self.names))


def predictions(
    outputs: Tensor,
    lengths: Tensor,
    problem: Problem,
    probabilities: Callable[[Tensor], Tensor],
) -> Iterator[Prediction]:
    """Yield the numbers of each sample by column, in the targets' own unit."""
    names = class_names(problem)
    for row in (outputs.double() * problem.spread + problem.center).tolist():
        yield dict(zip(names, row, strict=True))


REGRESSION = Task(
    losses=("mse", "l1", "smooth_l1", "huber"),
    training_metric=lambda problem: AbsoluteError(problem.spread),
    evaluation_metric=lambda problem: RegressionMetric(problem.outputs, problem.spread),
    figures=lambda problem: [
        PredictedOverTrue(class_names(problem), problem.center, problem.spread)
    ],
    predictions=predictions,
)
