"""Columns of a table as model inputs, by what the training rows say of each.

number    (x - mean) / deviation, 0 where it is missing; if it is ever missing in training, a second
          input that is 1 there and 0 elsewhere. A constant column has the deviation 1.
category  an input for each category of the training rows, 1 for the row's own; a missing cell is a
          category of its own, and one that training never saw makes all of them 0
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptrain.data.tables.table_file import Table
from bptrain.data.tables.table_header import listed, number, quoted
from bptrain.errors import DataError

MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})  # cells, in lower case, without a value
MOST_CATEGORIES = 1_000
FEW_ROWS = 20  # below, that every text is another one may be chance
LARGEST = 3.4e38  # float32 holds no larger number
LARGEST_BYTES = 2**33
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class Numeric:
    """A column of numbers; `indicator` tells whether a missing one has an input of its own."""

    name: str
    mean: float
    deviation: float
    indicator: bool

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return 1 + self.indicator

    def encode(self, table: Table) -> NDArray[np.float64]:
        """Return the inputs [N, width]."""
        values = numbers_of(table, self.name)
        missing = np.isnan(values)
        scaled = np.where(missing, 0.0, (values - self.mean) / self.deviation)
        return np.stack([scaled, missing][: self.width], axis=1)


@dataclass(frozen=True)
class Categorical:
    """A column of categories, "" standing for a missing cell."""

    name: str
    categories: tuple[str, ...]

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return len(self.categories)

    def encode(self, table: Table) -> NDArray[np.float64]:
        """Return the inputs [N, width]."""
        place = {category: number for number, category in enumerate(self.categories)}
        codes = [place.get(category_of(cell), -1) for cell in table.column(self.name, "the run")]
        one_hot = np.eye(self.width)
        return np.vstack([one_hot, np.zeros(self.width)])[codes]  # -1 is the row of zeros


Column = Numeric | Categorical


def is_missing(cell: str) -> bool:
    """Tell whether a cell stands for no value."""
    return cell.lower() in MISSING


def category_of(cell: str) -> str:
    """Return the category of a cell."""
    return "" if is_missing(cell) else cell


def numbers_of(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column of numbers [N], NaN where one is missing; raise DataError for other cells."""
    cells = table.column(name, "the run")
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        value = np.nan if is_missing(cell) else number(cell)
        if value is None:
            raise DataError(
                f"{table.path}: {quoted(cell)} in column {quoted(name)} is no number",
                f"{table.place(row)}; other cells of the column are numbers",
                f"mend the cell, or data.categorical: [{name}] if its numbers are names",
            )
        if not is_missing(cell) and not abs(value) <= LARGEST:
            raise DataError(
                f"{table.path}: {quoted(cell)} in column {quoted(name)} is not finite",
                f"{table.place(row)}; float32 holds numbers up to {LARGEST:g}",
                "mend the cell, or leave it empty for a missing value",
            )
        values[row] = value
    return values


def holds_numbers(table: Table, name: str) -> bool:
    """Tell whether any cell of a column is a number: all others have to be, then."""
    cells = (cell for cell in table.column(name, "data.columns") if not is_missing(cell))
    return any(number(cell) is not None for cell in cells)


def fit_columns(
    training: Table, whole: Table, names: Sequence[str], categorical: Iterable[str]
) -> list[Column]:
    """Return the columns with what the training rows say of them.

    whole  all rows of the file: they decide which columns hold numbers
    """
    forced = set(categorical)
    fitted: list[Column] = []
    for name in names:
        if all(map(is_missing, whole.column(name, "data.columns"))):
            raise DataError(
                f"{whole.path}: column {quoted(name)} is empty in every row",
                "",
                "leave it out: data.columns names those to use",
            )
        if name in forced or not holds_numbers(whole, name):
            _refuse_names(whole, name, chosen=name in forced)
            fitted.append(_fit_categories(training, name))
        else:
            numbers_of(whole, name)  # a broken cell is refused whichever split it falls into
            fitted.append(_fit_numbers(training, name))
    return fitted


def _fit_numbers(training: Table, name: str) -> Numeric:
    values = numbers_of(training, name)
    missing = np.isnan(values)
    known = values[~missing]
    if len(known) == 0:
        return Numeric(name, 0.0, 1.0, indicator=True)
    mean, deviation = float(known.mean()), float(known.std())
    if known.min() == known.max():  # the mean of equal numbers may be another, by rounding
        mean, deviation = float(known[0]), 1.0
    return Numeric(name, mean, deviation, indicator=bool(missing.any()))


def _fit_categories(training: Table, name: str) -> Categorical:
    return Categorical(name, tuple(sorted(set(map(category_of, training.column(name, ""))))))


def _refuse_names(table: Table, name: str, chosen: bool) -> None:
    """Raise DataError for texts that name their row, and for numbers with a decimal comma."""
    cells = [cell for cell in table.column(name, "data.columns") if not is_missing(cell)]
    if not chosen and all(map(DECIMAL_COMMA.fullmatch, cells)):
        raise DataError(
            f"{table.path}: {quoted(cells[0])} in column {quoted(name)} has a decimal comma",
            "numbers are written with a point",
            "mend the column, or name it in data.categorical if these are categories",
        )
    different = len(set(cells))
    if different > MOST_CATEGORIES or (not chosen and different == len(cells) >= FEW_ROWS):
        raise DataError(
            f"{table.path}: column {quoted(name)} holds {different:,} different texts",
            f"in {len(cells):,} cells: names, not categories (at most {MOST_CATEGORIES:,})",
            "leave it out: data.columns names those to use",
        )


def encode(columns: Sequence[Column], table: Table) -> NDArray[np.float32]:
    """Return the model's inputs [N, I] of a table's rows."""
    shape = (len(table), sum(column.width for column in columns))
    if shape[0] * shape[1] * 4 > LARGEST_BYTES:
        raise DataError(
            f"{table.path}: {shape[0]:,} rows of {shape[1]:,} inputs are too many to hold",
            f"a category is an input each; widest: {listed(_widest(columns))}",
            "leave columns out: data.columns names those to use",
        )
    inputs = np.empty(shape, np.float32)
    start = 0
    for column in columns:
        inputs[:, start : start + column.width] = column.encode(table)
        start += column.width
    return inputs


def _widest(columns: Sequence[Column]) -> list[str]:
    return [each.name for each in sorted(columns, key=lambda column: -column.width)][:3]


def without_missing(table: Table, names: Sequence[str]) -> Table:
    """Return the rows in which none of the columns misses a cell."""
    cells = zip(*(table.column(name, "data.columns") for name in names), strict=True)
    whole = [row for row, each in enumerate(cells) if not any(map(is_missing, each))]
    if not whole:
        raise DataError(
            f"{table.path}: every row misses a cell", "", "data.missing: mean keeps such rows"
        )
    return table.select(whole)


def refuse_missing(table: Table, names: Sequence[str], hint: str) -> None:
    """Raise DataError for the first missing cell of the columns."""
    for name in names:
        for row, cell in enumerate(table.column(name, "data.columns")):
            if is_missing(cell):
                raise DataError(
                    f"{table.path}: a missing cell in column {quoted(name)}",
                    f"{table.place(row)} holds {cell!r}",
                    hint,
                )


def as_plain(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the columns as values of JSON."""
    return [asdict(column) for column in columns]


def from_plain(entries: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Return the columns that `as_plain` wrote."""
    return [
        Categorical(each["name"], tuple(each["categories"]))
        if "categories" in each
        else Numeric(each["name"], each["mean"], each["deviation"], each["indicator"])
        for each in entries
    ]
