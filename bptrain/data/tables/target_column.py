"""The target column of a table: its task, its classes, its numbers."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.tables.column_encoding import as_numbers, numbers_of
from bptrain.data.tables.table import Table, listed, quoted
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

TableTask = Literal["classification", "regression"]

MOST_INTEGER_CLASSES = 20  # different ones at most: digits and grades are classes, ages are not
MOST_CLASSES = 1_000


def task_of(table: Table, target: str) -> TableTask:
    """Return classification for text and for a small set of integers, else regression."""
    cells = table.column(target, "data.target")
    numbers = as_numbers(cells)
    if numbers.has_nulls():
        return "classification"
    small = cells.n_unique() <= MOST_INTEGER_CLASSES
    return "classification" if small and is_whole(numbers).all() else "regression"


def is_whole(numbers: "pl.Series") -> "pl.Series":
    """Return for each number whether it is an integer; NaN and infinity are not."""
    return numbers.is_finite() & (numbers == numbers.floor())


def labels_of(table: Table, target: str) -> "pl.Series":
    """Return the class of each row by name; where all are numbers, 3 and 3.0 are the same class."""
    cells = table.column(target, "data.target")
    numbers = as_numbers(cells)
    if numbers.has_nulls():
        return cells
    if (wrong := (~is_whole(numbers)).arg_true()).len():
        raise DataError(
            f"{table.path}: {quoted(cells[wrong[0]])} in the target column {quoted(target)} "
            "is no class",
            f"{table.place(wrong[0])}; classes are texts or integers",
            "data.task: regression, if the target is a quantity",
        )
    different = cells.unique()
    return cells.replace_strict(different, [exact_integer(cell) for cell in different])


def exact_integer(cell: str) -> str:
    """Return the digits of a cell that is an integer: 3 for 3.0, and exact beyond 2^53."""
    return str(int(Decimal(cell)))


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
    return tuple(sorted(found, key=None if as_numbers(found).has_nulls() else int))


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


def number_targets(table: Table, target: str) -> Tensor:
    """Return the number of each row [N, 1] in float64: to be scaled, then rounded."""
    return torch.from_numpy(numbers_of(table, target)).unsqueeze(1)


def refuse_constant_numbers(table: Table, target: str) -> None:
    """Raise DataError where every row has the same number."""
    _refuse_constant(table, target, np.unique(numbers_of(table, target)))


def _refuse_constant(table: Table, target: str, found: "pl.Series | NDArray[np.float64]") -> None:
    if len(found) == 1:
        raise DataError(
            f"{table.path}: target column {quoted(target)} holds one value only",
            f"every row is {quoted(str(found[0]))}: there is nothing to learn",
        )
