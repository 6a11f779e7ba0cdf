"""Columns of a table as model inputs, with statistics of the training rows only.

number    (x - mean) / std, 0 where it is missing; if one is missing in training, a second input
          that is 1 for a missing number and 0 otherwise. The std of a constant column is taken as 1
date      days, as a number is; sine and cosine of the time of the year and of the week, and of the
          day if training has times; 0 where it is missing, with an input more as for numbers
category  one-hot: an input for each category of the training rows; a missing cell is a category of
          its own, and a category that is not in the training rows sets all inputs to 0
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bptrain.data.notes import listed as named
from bptrain.data.tables import bad_cells
from bptrain.data.tables.bad_cells import BadCells, explained_as_numbers, not_numbers
from bptrain.data.tables.categories import categories_of
from bptrain.data.tables.cell_format import DAY_US, CellFormat, moments
from bptrain.data.tables.table import Table, listed
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Found: TypeAlias = "tuple[pl.Series, pl.Series]"  # rows of a table, counted from 0, and their cells

LARGEST_BYTES = 2**33
MOST_ROWS, PART_BYTES = 2**13, 2**26  # of a large table that are encoded at a time
TURN = 2 * np.pi
MINUTES = 24 * 60  # of a day


@dataclass(frozen=True)
class Numeric:
    """A column of numbers; with `indicator` a second input is 1 where one is missing.

    unit  the percent or currency sign of each cell, if any
    """

    name: str
    mean: float
    std: float
    indicator: bool
    unit: str = ""

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return 1 + self.indicator

    def encode(self, table: Table, inputs: NDArray[np.float32]) -> None:
        """Write the inputs [N, width], which are 0 before."""
        scaled = (numbers_of(table, self.name, self.unit) - self.mean) / self.std
        missing = np.isnan(scaled)
        if missing.any():
            scaled[missing] = 0
            inputs[:, 1:] = missing[:, np.newaxis]
        inputs[:, 0] = scaled

    def bad_cells(self, table: Table) -> Found:
        """Return the cells that are no numbers."""
        cells = table.column(self.name, "the run")
        rows = table.format.numbers(cells, self.unit)[1].arg_true()
        return rows, cells.gather(rows)

    def explained(self, form: CellFormat, rows: "pl.Series", cells: "pl.Series") -> BadCells:
        """Return bad cells with what is wrong with them."""
        return explained_as_numbers(form, self.name, rows, cells, self.unit)

    def decode(self, inputs: Sequence[float]) -> str:
        """Return the cell of a row's inputs [width], "" for a missing one."""
        if any(inputs[1:]):
            return ""
        return f"{inputs[0] * self.std + self.mean:.6g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Dated:
    """A column of dates.

    form       of its cells, in the letters of strptime; None for ISO 8601
    mean, std  in days since 1970
    clock      whether sine and cosine of the time of day are inputs
    indicator  whether an input is 1 where a date is missing
    """

    name: str
    form: str | None
    mean: float
    std: float
    clock: bool
    indicator: bool

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return 5 + 2 * self.clock + self.indicator

    def encode(self, table: Table, inputs: NDArray[np.float32]) -> None:
        """Write the inputs [N, width], which are 0 before."""
        found = dates_of(table, self.name, self.form)
        days = days_of(found)
        missing = np.isnan(days)
        inputs[:, 0] = (days - self.mean) / self.std
        for place, part in enumerate(cycles_of(found, self.clock)):
            inputs[:, 1 + 2 * place] = np.sin(TURN * part)
            inputs[:, 2 + 2 * place] = np.cos(TURN * part)
        inputs[missing] = 0
        if self.indicator:
            inputs[:, -1] = missing

    def bad_cells(self, table: Table) -> Found:
        """Return the cells that are no dates."""
        bad = dates_and_bad_cells(table, self.name, self.form)[1]
        return bad.rows, bad.cells

    def explained(self, _form: CellFormat, rows: "pl.Series", cells: "pl.Series") -> BadCells:
        """Return bad cells with what is wrong with them."""
        return explained_as_dates(self.name, self.form, rows, cells)

    def decode(self, inputs: Sequence[float]) -> str:
        """Return the cell of a row's inputs [width] as ISO 8601, "" for a missing one."""
        if not any(inputs[1:3]) or (self.indicator and inputs[-1]):  # sine and cosine of the year
            return ""
        days = inputs[0] * self.std + self.mean
        # float32 holds no seconds
        return str(np.datetime64(round(days * MINUTES), "m") if self.clock else _day(days))


@dataclass(frozen=True)
class Categorical:
    """A column of categories, "" for a missing cell."""

    name: str
    categories: tuple[str, ...]

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return len(self.categories)

    def encode(self, table: Table, inputs: NDArray[np.float32]) -> None:
        """Write the inputs [N, width], which are 0 before."""
        cells = categories_of(table.column(self.name, "the run"), table.format)
        codes = cells.replace_strict(self.categories, range(self.width), default=-1).to_numpy()
        known = np.flatnonzero(codes >= 0)
        inputs[known, codes[known]] = 1

    def decode(self, inputs: Sequence[float]) -> str:
        """Return the cell of a row's inputs [width], "?" for a category that training lacked."""
        return self.categories[inputs.index(1.0)] if 1.0 in inputs else "?"


def _day(days: float) -> np.datetime64:
    return np.datetime64(round(days), "D")


Column = Numeric | Dated | Categorical


def numbers_of(table: Table, name: str, unit: str = "") -> NDArray[np.float64]:
    """Return a column of numbers [N], NaN where one is missing; raise DataError for other cells."""
    cells = table.column(name, "the run")
    numbers, wrong = table.format.numbers(cells, unit)
    if wrong.any():
        bad_cells.refuse(table, [not_numbers(table, name, cells, wrong, unit)])
    values: NDArray[np.float64] = numbers.to_numpy()  # null becomes NaN
    return values


def dates_of(table: Table, name: str, form: str | None) -> "pl.Series":
    """Return a column of dates, null where one is missing; raise DataError for other cells."""
    found, bad = dates_and_bad_cells(table, name, form)
    bad_cells.refuse(table, [bad])
    return found


def dates_and_bad_cells(table: Table, name: str, form: str | None) -> "tuple[pl.Series, BadCells]":
    """Return a column of dates, null where one is missing, and the cells that are none."""
    import polars as pl

    cells = table.column(name, "data.dates")
    if cells.dtype != pl.String:
        cells = cells.cast(pl.Int64).cast(pl.String).fill_null("")
    missing = table.format.is_missing(cells)
    found = moments(cells.set(missing, None), form)
    rows = (found.is_null() & ~missing).arg_true()
    return found, explained_as_dates(name, form, rows, cells.gather(rows))


def explained_as_dates(
    name: str, form: str | None, rows: "pl.Series", cells: "pl.Series"
) -> BadCells:
    """Return cells that are no dates, with the key that may help; `rows` are theirs."""
    expected = "ISO 8601, such as 2024-02-29" if form is None else form
    hint = f"correct the cell, or data.dates: {{{name}: FORM}} with its form"
    return BadCells(name, rows, cells, "is no date", f"the form is {expected}", hint)


def days_of(found: "pl.Series") -> NDArray[np.float64]:
    """Return dates as days since 1970, NaN for a missing one."""
    days: NDArray[np.float64] = (found.dt.epoch("us") / DAY_US).fill_null(float("nan")).to_numpy()
    return days


def cycles_of(found: "pl.Series", clock: bool) -> list[NDArray[np.float64]]:
    """Return which part of its year, its week and, with `clock`, its day has passed at a date."""
    days = 365 + found.dt.is_leap_year().cast(float)
    time = found.dt.epoch("us") % DAY_US / DAY_US
    parts = [(found.dt.ordinal_day() - 1 + time) / days, (found.dt.weekday() - 1 + time) / 7]
    return [each.fill_null(0).to_numpy() for each in [*parts, *[time] * clock]]


def encode(columns: Sequence[Column], table: Table) -> NDArray[np.float32]:
    """Return the model's inputs [N, I] of a table's rows."""
    shape = (len(table), sum(column.width for column in columns))
    if shape[0] * shape[1] * 4 > LARGEST_BYTES:
        raise DataError(
            f"{table.path}: {shape[0]:,} rows of {shape[1]:,} inputs are too many to hold",
            f"a category is an input each; widest: {listed(_widest(columns))}",
            "leave columns out: data.exclude names them",
        )
    inputs = np.zeros(shape, np.float32)
    start = 0
    for column in columns:
        column.encode(table, inputs[:, start : start + column.width])
        start += column.width
    return inputs


def rows_of_a_part(columns: Sequence[Column], batch_size: int) -> int:
    """Return how many rows of a large table are encoded at a time: whole batches of them."""
    width = max(1, sum(column.width for column in columns))
    rows = min(MOST_ROWS, PART_BYTES // (4 * width))
    return max(1, rows // batch_size) * batch_size


def decode(columns: Sequence[Column], inputs: Sequence[float]) -> dict[str, str]:
    """Return a row's cells by column from its inputs [I]; float32 has rounded its numbers."""
    cells, start = {}, 0
    for column in columns:
        cells[column.name] = column.decode(inputs[start : start + column.width])
        start += column.width
    return cells


def _widest(columns: Sequence[Column]) -> list[str]:
    return [each.name for each in sorted(columns, key=lambda column: -column.width)][:3]


def columns_note(columns: Sequence[Column]) -> str:
    """Return the columns by type, each column of categories with how many it has."""
    numbers = [
        f"{each.name} ({each.unit})" if each.unit else each.name
        for each in columns
        if isinstance(each, Numeric)
    ]
    dates = [each.name for each in columns if isinstance(each, Dated)]
    texts = [f"{each.name} ({each.width:,})" for each in columns if isinstance(each, Categorical)]
    kinds = {"number": numbers, "date": dates, "category": texts}
    parts = [f"{len(each):,} {kind}: {named(each)}" for kind, each in kinds.items() if each]
    return f"columns {'   '.join(parts)}"


def unseen_categories(columns: Sequence[Column], table: Table) -> dict[str, int]:
    """Return how many cells of a table hold a category that the training rows have not."""
    unseen: dict[str, int] = {}
    for column in columns:
        if isinstance(column, Categorical):
            cells = categories_of(table.column(column.name, "the run"), table.format)
            number = int((~cells.is_in(column.categories)).sum())
            unseen |= {column.name: number} if number else {}
    return unseen


def text_columns(columns: Iterable[Column]) -> list[str]:
    """Return the columns whose cells stay text when a table is read."""
    return [each.name for each in columns if not isinstance(each, Numeric) or each.unit]


def as_plain(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the columns as values of JSON."""
    return [asdict(column) for column in columns]


def from_plain(entries: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Return the columns that `as_plain` wrote."""
    return [_column(**each) for each in entries]


def _column(**fields: Any) -> Column:
    if "categories" in fields:
        return Categorical(fields["name"], tuple(fields["categories"]))
    return Dated(**fields) if "clock" in fields else Numeric(**fields)
