"""The target column of a table: its task, its classes, its numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bptrain.data.tables.column_encoding import numbers_of
from bptrain.data.tables.table_file import Table
from bptrain.data.tables.table_header import listed, number, quoted
from bptrain.errors import DataError

TableTask = Literal["classification", "regression"]

FEW_INTEGERS = 20  # different ones at most: digits and grades are classes, ages are not
MOST_CLASSES = 1_000


def task_of(table: Table, target: str) -> TableTask:
    """Return classification for text and for few integers, regression for other numbers."""
    cells = table.column(target, "data.target")
    whole = all(number(cell) is None or is_whole(cell) for cell in cells)
    text = any(number(cell) is None for cell in cells)
    few = len(set(cells)) <= FEW_INTEGERS
    return "classification" if text or (whole and few) else "regression"


def is_whole(cell: str) -> bool:
    """Tell whether a cell is an integer, be it written as 3 or 3.0."""
    value = number(cell)
    return value is not None and value.is_integer()  # neither NaN nor infinity is


def labels_of(table: Table, target: str) -> list[str]:
    """Return the class of each row by name; where all are numbers, 3 and 3.0 are the same class."""
    cells = table.column(target, "data.target")
    if any(number(cell) is None for cell in cells):
        return cells
    for row, cell in enumerate(cells):
        if not is_whole(cell):
            raise DataError(
                f"{table.path}: {quoted(cell)} in the target column {quoted(target)} is no class",
                f"{table.place(row)}; classes are texts or integers",
                "data.task: regression, if the target is a quantity",
            )
    return [str(int(float(cell))) for cell in cells]


def classes_of(table: Table, target: str) -> tuple[str, ...]:
    """Return the classes in a table, integers in their order and texts in the alphabet's."""
    found = set(labels_of(table, target))
    if len(found) > MOST_CLASSES:
        raise DataError(
            f"{table.path}: target column {quoted(target)} holds {len(found):,} classes",
            f"at most {MOST_CLASSES:,}; they are {listed(sorted(found), 3)}",
            "data.task: regression, or another data.target",
        )
    _refuse_constant(table, target, found)
    return tuple(sorted(found, key=int if all(map(is_whole, found)) else None))


def class_targets(table: Table, target: str, classes: Sequence[str]) -> Tensor:
    """Return the index of each row's class [N], or raise DataError for one that is not known."""
    place = {name: index for index, name in enumerate(classes)}
    labels = labels_of(table, target)
    for row, label in enumerate(labels):
        if label not in place:
            raise DataError(
                f"{table.path}: class {quoted(label)} is not in the training table",
                f"{table.place(row)}; the classes are {listed(classes)}",
            )
    return torch.tensor([place[label] for label in labels])


def number_targets(table: Table, target: str) -> Tensor:
    """Return the number of each row [N, 1], float32."""
    return torch.from_numpy(numbers_of(table, target)).float().unsqueeze(1)


def refuse_constant_numbers(table: Table, target: str) -> None:
    """Raise DataError where every row has the same number."""
    _refuse_constant(table, target, set(map(str, numbers_of(table, target))))


def _refuse_constant(table: Table, target: str, found: set[str]) -> None:
    if len(found) == 1:
        raise DataError(
            f"{table.path}: target column {quoted(target)} holds one value only",
            f"every row is {quoted(next(iter(found)))}: there is nothing to learn",
        )
