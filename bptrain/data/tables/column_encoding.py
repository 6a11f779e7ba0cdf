"""Columns of a table as model inputs, with statistics of the training rows only.

number    (x - mean) / std, 0 where it is missing; if one is missing in training, a second input
          that is 1 for a missing number and 0 otherwise. The std of a constant column is taken as 1
category  one-hot: an input for each category of the training rows; a missing cell is a category of
          its own, and a category that is not in the training rows sets all inputs to 0
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptrain.data.notes import listed as named
from bptrain.data.tables.table import Table, listed, quoted
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MISSING = ["", "na", "n/a", "nan", "null", "?"]  # cells, in lower case, without a value
MOST_CATEGORIES = 1_000
LEAST_ROWS = 20  # in a smaller table all texts may differ by chance
LARGEST = 3.4e38  # float32 holds no larger number
LARGEST_BYTES = 2**33
DECIMAL_COMMA = r"^[+-]?\d+,\d+$"


@dataclass(frozen=True)
class Numeric:
    """A column of numbers; with `indicator` a second input is 1 where one is missing."""

    name: str
    mean: float
    std: float
    indicator: bool

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return 1 + self.indicator

    def encode(self, table: Table, inputs: NDArray[np.float32]) -> None:
        """Write the inputs [N, width], which are 0 before."""
        values = numbers_of(table, self.name)
        missing = np.isnan(values)
        inputs[:, 0] = np.where(missing, 0.0, (values - self.mean) / self.std)
        inputs[:, 1:] = missing[:, np.newaxis]


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
        cells = categories_of(table.column(self.name, "the run"))
        codes = cells.replace_strict(self.categories, range(self.width), default=-1).to_numpy()
        known = np.flatnonzero(codes >= 0)
        inputs[known, codes[known]] = 1


Column = Numeric | Categorical


def is_missing(cells: "pl.Series") -> "pl.Series":
    """Return for each cell whether it is missing."""
    return cells.str.to_lowercase().is_in(MISSING)


def categories_of(cells: "pl.Series") -> "pl.Series":
    """Return the category of each cell."""
    return cells.set(is_missing(cells), "")


def as_numbers(cells: "pl.Series") -> "pl.Series":
    """Return the number that each cell spells, NaN and infinity among them; null for text."""
    return cells.cast(float, strict=False)


def numbers_of(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column of numbers [N], NaN where one is missing; raise DataError for other cells."""
    cells = table.column(name, "the run")
    missing, numbers = is_missing(cells), as_numbers(cells)
    if (text := (numbers.is_null() & ~missing).arg_true()).len():
        raise DataError(
            f"{table.path}: {quoted(cells[text[0]])} in column {quoted(name)} is no number",
            f"{table.place(text[0])}; other cells of the column are numbers",
            f"correct the cell, or data.categorical: [{name}] if its numbers are names",
        )
    values: NDArray[np.float64] = numbers.set(missing, None).to_numpy(writable=True)
    if len(wrong := np.flatnonzero(~(np.abs(values) <= LARGEST) & ~missing.to_numpy())):
        raise DataError(
            f"{table.path}: {quoted(cells[int(wrong[0])])} in column {quoted(name)} is not finite",
            f"{table.place(wrong[0])}; float32 holds numbers up to {LARGEST:g}",
            "correct the cell, or leave it empty for a missing value",
        )
    return values


def holds_numbers(cells: "pl.Series") -> bool:
    """Tell whether any cell of a column is a number: all others must be numbers, then."""
    return bool((as_numbers(cells).is_not_null() & ~is_missing(cells)).any())


def fit_columns(
    training: Table, whole: Table, names: Sequence[str], categorical: Iterable[str]
) -> list[Column]:
    """Return the columns with what the training rows say of them.

    whole  all rows of the file: they decide which columns hold numbers
    """
    forced = set(categorical)
    fitted: list[Column] = []
    for name in names:
        cells = whole.column(name, "data.columns")
        if is_missing(cells).all():
            raise DataError(
                f"{whole.path}: column {quoted(name)} is empty in every row",
                "",
                "leave it out: data.columns names those to use",
            )
        if name in forced or not holds_numbers(cells):
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
    mean, std = float(known.mean()), float(known.std())
    if known.min() == known.max():  # the mean of equal numbers may be another, by rounding
        mean, std = float(known[0]), 1.0
    return Numeric(name, mean, std, indicator=bool(missing.any()))


def _fit_categories(training: Table, name: str) -> Categorical:
    return Categorical(name, tuple(sorted(categories_of(training.column(name, "")).unique())))


def _refuse_names(table: Table, name: str, chosen: bool) -> None:
    """Raise DataError for texts that name their row, and for numbers with a decimal comma."""
    cells = table.column(name, "data.columns")
    cells = cells.filter(~is_missing(cells))
    if not chosen and cells.str.contains(DECIMAL_COMMA).all():
        raise DataError(
            f"{table.path}: {quoted(cells[0])} in column {quoted(name)} has a decimal comma",
            "numbers are written with a point",
            "correct the column, or name it in data.categorical if these are categories",
        )
    different = cells.n_unique()
    if different > MOST_CATEGORIES or (not chosen and different == len(cells) >= LEAST_ROWS):
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
    inputs = np.zeros(shape, np.float32)
    start = 0
    for column in columns:
        column.encode(table, inputs[:, start : start + column.width])
        start += column.width
    return inputs


def _widest(columns: Sequence[Column]) -> list[str]:
    return [each.name for each in sorted(columns, key=lambda column: -column.width)][:3]


def without_missing(table: Table, names: Sequence[str]) -> Table:
    """Return the rows in which none of the columns misses a cell."""
    missing = np.zeros(len(table), bool)
    for name in names:
        missing |= is_missing(table.column(name, "data.columns")).to_numpy()
    whole = np.flatnonzero(~missing)
    if not len(whole):
        raise DataError(
            f"{table.path}: every row misses a cell", "", "data.missing: mean uses such rows"
        )
    return table.select(whole)


def refuse_missing(table: Table, names: Sequence[str], hint: str) -> None:
    """Raise DataError for the first missing cell of the columns."""
    for name in names:
        cells = table.column(name, "data.columns")
        if (missing := is_missing(cells).arg_true()).len():
            raise DataError(
                f"{table.path}: a missing cell in column {quoted(name)}",
                f"{table.place(missing[0])} holds {cells[missing[0]]!r}",
                hint,
            )


def columns_note(columns: Sequence[Column]) -> str:
    """Return the columns by type, each column of categories with how many it has."""
    numbers = [each.name for each in columns if isinstance(each, Numeric)]
    texts = [f"{each.name} ({each.width:,})" for each in columns if isinstance(each, Categorical)]
    kinds = {"number": numbers, "category": texts}
    told = [f"{len(each):,} {kind}: {named(each)}" for kind, each in kinds.items() if each]
    return f"columns {'   '.join(told)}"


def unseen_categories(columns: Sequence[Column], table: Table) -> dict[str, int]:
    """Return how many cells of a table hold a category that the training rows have not."""
    unseen: dict[str, int] = {}
    for column in columns:
        if isinstance(column, Categorical):
            cells = categories_of(table.column(column.name, "the run"))
            number = int((~cells.is_in(column.categories)).sum())
            unseen |= {column.name: number} if number else {}
    return unseen


def as_plain(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the columns as values of JSON."""
    return [asdict(column) for column in columns]


def from_plain(entries: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Return the columns that `as_plain` wrote."""
    return [
        Categorical(each["name"], tuple(each["categories"]))
        if "categories" in each
        else Numeric(each["name"], each["mean"], each["std"], each["indicator"])
        for each in entries
    ]
