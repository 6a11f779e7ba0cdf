"""Regression: real numbers for each sample."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.plots.canvas import Picture
from bptrain.problem import Problem, Scale
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.plots import Values, residual_plot, scatter_plot
from bptrain.tasks.task import (
    Described,
    FigureBuilder,
    Prediction,
    ResultFigure,
    Task,
    class_names,
    ratio,
)

MOST_COLUMNS = 6  # that are plotted


def each_column(scale: Scale) -> Tensor:
    """Return a number for each column [O], or for all of them [1]."""
    numbers = scale if isinstance(scale, tuple) else (scale,)
    return torch.tensor(numbers, dtype=torch.float64)


def scaled_sum(sums: Sequence[float], scale: Scale) -> float:
    """Return the sum of the columns' sums, each times its scale."""
    scales = scale if isinstance(scale, tuple) else (scale,) * len(sums)
    return sum(each * factor for each, factor in zip(sums, scales, strict=True))


def squares(scale: Scale) -> Scale:
    """Return the squares of scales."""
    return tuple(each * each for each in scale) if isinstance(scale, tuple) else scale * scale


class AbsoluteError:
    """The mean distance of outputs [N, O] from their targets [N, O], times `scale` of each."""

    names = ("mae",)
    larger_is_better = ()

    def __init__(self, scale: Scale = 1.0) -> None:
        self.scale = scale

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of each column's distances, and how many there are in all."""
        errors = (outputs - targets[0]).abs().double()
        columns = errors.view(-1, errors.shape[-1]).sum(0)
        return torch.cat([columns, columns.new_tensor([errors.numel()])])

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the mean absolute error."""
        *absolute, number = sums
        return {"mae": ratio(scaled_sum(absolute, self.scale), number)}


class RegressionMetric:
    """Errors of outputs [N, O], and R^2: the share of the targets' variance that is explained.

    R^2 is each column's own, then their mean. A column that is constant has no variance: 1 if it
    is predicted without error, else 0. R^2 has no unit; the errors are multiplied by `scale` of
    their column.
    """

    names = ("mae", "rmse", "r2")
    larger_is_better = ("r2",)

    def __init__(self, columns: int, scale: Scale = 1.0) -> None:
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
            "mae": scaled_sum(absolute, self.scale) / sum(count),
            "rmse": (scaled_sum(squared, squares(self.scale)) / sum(count)) ** 0.5,
            "r2": sum(scores) / self.columns,
        }


class ValuePlot:
    """True and predicted values, in the targets' own unit: offset + scale * value.

    name  of the figure
    draw  draws true and predicted values [N, columns] of columns with these names
    """

    def __init__(
        self, name: str, draw: Callable[[Values, Values, Sequence[str]], Picture], problem: Problem
    ) -> None:
        self.name, self.draw = name, draw
        self.names = class_names(problem)[:MOST_COLUMNS]
        units = (problem.center, problem.spread)
        self.offset, self.scale = (each_column(unit)[:MOST_COLUMNS] for unit in units)
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
        return ResultFigure(self.name, self.draw(true, predicted, self.names))


def figures(problem: Problem, decision: Decision = BY_SOFTMAX) -> list[FigureBuilder]:
    """Return predicted over true values, and what is left of them, over the predicted ones."""
    plots = {"predictions": scatter_plot, "residuals": residual_plot}
    return [ValuePlot(name, draw, problem) for name, draw in plots.items()]


def predictions(
    outputs: Tensor,
    lengths: Tensor,
    problem: Problem,
    decision: Decision,
) -> Iterator[Prediction]:
    """Yield the numbers of each sample by column, in the targets' own unit."""
    names = class_names(problem)
    for row in in_own_unit(outputs, problem):
        yield dict(zip(names, row, strict=True))


def in_own_unit(numbers: Tensor, problem: Problem) -> list[list[float]]:
    """Return outputs or targets [N, O] in the targets' own unit, row by row."""
    spread, center = (
        each_column(unit).to(numbers.device) for unit in (problem.spread, problem.center)
    )
    rows: list[list[float]] = (numbers.double() * spread + center).tolist()
    return rows


def describe(
    outputs: Tensor, targets: tuple[Tensor, ...], problem: Problem, decision: Decision
) -> Iterator[Described]:
    """Yield the numbers of each sample by column, in the targets' own unit."""
    names = class_names(problem)
    rows = (in_own_unit(each, problem) for each in (targets[0], outputs))
    for true, predicted in zip(*rows, strict=True):
        yield Described(*(_named_values(names, values) for values in (true, predicted)))


def _named_values(names: Sequence[str], values: Sequence[float]) -> str:
    if len(names) == 1:
        return f"{values[0]:.6g}"
    shown = zip(names[:MOST_COLUMNS], values, strict=False)
    more = ", ..." * (len(names) > MOST_COLUMNS)
    return ", ".join(f"{name} {value:.6g}" for name, value in shown) + more


REGRESSION = Task(
    losses=("mse", "l1", "smooth_l1", "huber"),
    training_metric=lambda problem: AbsoluteError(problem.spread),
    evaluation_metric=lambda problem, decision=BY_SOFTMAX: RegressionMetric(
        problem.outputs, problem.spread
    ),
    figures=figures,
    predictions=predictions,
    describe=describe,
    constant="mean",
)
