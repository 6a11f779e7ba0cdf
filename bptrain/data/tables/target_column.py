"""The target columns of a table: their task, its classes, their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.tables.categories import by_value
from bptrain.data.tables.column_encoding import numbers_of
from bptrain.data.tables.table import Table, listed, quoted
from bptrain.errors import DataError, UsageError

if TYPE_CHECKING:
    import polars as pl

TableTask = Literal["classification", "regression"]

MOST_INTEGER_CLASSES = 20  # different ones at most: digits and grades are classes, ages are not
MOST_CLASSES = 1_000


@dataclass(frozen=True)
class Target:
    """The columns to predict; `names` are the classes, or the columns for regression.

    units  the percent or currency sign of each column's numbers, "" for none
    """

    task: TableTask
    columns: tuple[str, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]

    def of(self, table: Table) -> Tensor:
        """Return the targets of a table's rows: classes [N], or numbers [N, D]."""
        if self.task == "classification":
            # the classes are those of all rows: which there are defines the task, and is not a
            # statistic that must come from the training rows
            return class_targets(table, self.columns[0], self.names)
        return number_targets(table, self.columns, self.units)


def target_of(table: Table, columns: Sequence[str], task: TableTask | None) -> Target:
    """Return the target of a table, its task inferred where it is not given."""
    if task == "classification" and len(columns) > 1:
        raise UsageError(
            f"data.target names {len(columns)} columns",
            "several targets are numbers, one target can be a class",
            "data.task: regression, or one target",
        )
    if task is None:
        task = task_of(table, columns[0]) if len(columns) == 1 else "regression"
    units = tuple(table.format.unit_of(table.column(each, "data.target")) for each in columns)
    if task == "classification":
        return Target(task, tuple(columns), classes_of(table, columns[0]), units)
    for name, unit in zip(columns, units, strict=True):
        _refuse_constant(table, name, np.unique(numbers_of(table, name, unit)))
    return Target(task, tuple(columns), tuple(columns), units)


def task_of(table: Table, target: str) -> TableTask:
    """Return classification for text and for a small set of integers, else regression."""
    cells = table.column(target, "data.target")
    numbers = table.format.as_numbers(cells, table.format.unit_of(cells))
    if numbers.has_nulls():
        return "classification"
    small = cells.n_unique() <= MOST_INTEGER_CLASSES
    return "classification" if small and is_whole(numbers).all() else "regression"


def is_whole(numbers: "pl.Series") -> "pl.Series":
    """Return for each number whether it is an integer; NaN and infinity are not."""
    return numbers.is_finite() & (numbers == numbers.floor())


def labels_of(table: Table, target: str) -> "pl.Series":
    """Return the class of each row by name: 3 and 3.0 are the same class, True and TRUE too."""
    cells = table.column(target, "data.target")
    numbers = table.format.as_numbers(cells)
    if not numbers.has_nulls() and (wrong := (~is_whole(numbers)).arg_true()).len():
        raise DataError(
            f"{table.path}: {quoted(cells[wrong[0]])} in the target column {quoted(target)} "
            "is no class",
            f"{table.place(wrong[0])}; classes are texts or integers",
            "data.task: regression, if the target is a quantity",
        )
    return by_value(cells, table.format)


def classes_of(table: Table, target: str) -> tuple[str, ...]:
    """Return the classes in a table, integers by value and texts in alphabetical order."""
    found = labels_of(table, target).unique()
    if len(found) > MOST_CLASSES:
        raise DataError(
            f"{table.path}: target column {quoted(target)} holds {len(found):,} classes",
            f"at most {MOST_CLASSES:,}; they are {listed(sorted(found), 3)}",
            "data.task: regression, or another data.target",
        )
    _refuse_constant(table, target, found)
    numbers = found.cast(float, strict=False)
    return tuple(sorted(found, key=None if numbers.has_nulls() else int))


def class_targets(table: Table, target: str, classes: Sequence[str]) -> Tensor:
    """Return the index of each row's class [N], or raise DataError for one that is not known."""
    labels = labels_of(table, target)
    codes = labels.replace_strict(classes, range(len(classes)), default=-1)
    if (unknown := (codes < 0).arg_true()).len():
        raise DataError(
            f"{table.path}: class {quoted(labels[unknown[0]])} is not in the training table",
            f"{table.place(unknown[0])}; the classes are {listed(classes)}",
        )
    return torch.from_numpy(codes.cast(int).to_numpy(writable=True))


def number_targets(table: Table, columns: Sequence[str], units: Sequence[str]) -> Tensor:
    """Return the numbers of each row [N, D] in float64: to be scaled, then rounded."""
    pairs = zip(columns, units, strict=True)
    numbers = [torch.tensor(numbers_of(table, name, unit)) for name, unit in pairs]
    return torch.stack(numbers, 1)


def _refuse_constant(table: Table, target: str, found: "pl.Series | NDArray[np.float64]") -> None:
    if len(found) == 1:
        raise DataError(
            f"{table.path}: target column {quoted(target)} holds one value only",
            f"every row is {quoted(str(found[0]))}: there is nothing to learn",
        )
