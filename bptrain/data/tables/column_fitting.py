"""Which columns hold numbers, dates or categories, and what the training rows say of them."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bptrain.config.yaml_tree import write
from bptrain.data.notes import listed as named
from bptrain.data.tables import bad_cells
from bptrain.data.tables.bad_cells import BadCells, date_form, not_numbers, spelling_of
from bptrain.data.tables.categories import categories_of
from bptrain.data.tables.cell_format import is_iso_date
from bptrain.data.tables.column_encoding import (
    Categorical,
    Column,
    Dated,
    Numeric,
    cycles_of,
    dates_and_bad_cells,
    dates_of,
    days_of,
    numbers_of,
)
from bptrain.data.tables.table import Table, quoted
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MOST_CATEGORIES = 1_000
LEAST_ROWS = 20  # in a smaller table all texts may differ by chance
FEW = 50  # different texts are categories, even if most rows have one of their own
MIXED = 0.1  # of the cells: fewer that are no numbers are mistakes, more are codes or names
ID_NAME = r"(?i)(^|[_ .-])(id|idx|index|row|nr|no)$|[a-z]I[Dd]$|^Unnamed: 0$"
SHOWN = 5  # columns that a message describes


@dataclass(frozen=True)
class ColumnKeys:
    """What the config says of columns: which hold categories, dates (and their form), or are out.

    exclude  those left out already, which a hint to leave more out repeats
    """

    categorical: Collection[str] = ()
    dates: Mapping[str, str] = field(default_factory=dict)
    exclude: Sequence[str] = ()


def fit_columns(
    training: Table, whole: Table, names: Sequence[str], keys: ColumnKeys
) -> list[Column]:
    """Return the columns with what the training rows say of them.

    Raises one DataError for all columns that are no inputs, then one for all cells that are wrong.

    whole  all rows of the file: they decide which columns hold numbers
    """
    findings = Findings(whole, keys)
    kinds = {name: findings.kind_of(name) for name in names}
    findings.refuse()
    return [_fitted(training, name, *kind) for name, kind in kinds.items()]


def _fitted(training: Table, name: str, kind: type[Column], extra: Any) -> Column:
    if kind is Numeric:
        return _fit_numbers(training, name, extra)
    if kind is Dated:
        return _fit_dates(training, name, extra)
    cells = training.column(name, "")
    return Categorical(name, tuple(sorted(categories_of(cells, training.format).unique())))


def _fit_numbers(training: Table, name: str, unit: str) -> Numeric:
    values = numbers_of(training, name, unit)
    mean, std, indicator = _statistics(values)
    return Numeric(name, mean, std, indicator, unit)


def _fit_dates(training: Table, name: str, form: str | None) -> Dated:
    found = dates_of(training, name, form)
    mean, std, indicator = _statistics(days_of(found))
    clock = bool(cycles_of(found, clock=True)[-1].any())
    return Dated(name, form, mean, std, clock, indicator)


def _statistics(values: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Return mean and standard deviation of numbers, and whether any is missing (NaN)."""
    missing = np.isnan(values)
    known = values[~missing] if missing.any() else values
    if len(known) == 0:
        return 0.0, 1.0, True
    mean, std = float(known.mean()), float(known.std())
    if known.min() == known.max():  # the mean of equal numbers may be another, by rounding
        mean, std = float(known[0]), 1.0
    return mean, std, len(known) < len(values)


class Findings:
    """What is wrong with the columns of a table, found while their kinds are.

    empty  columns without a cell; names: those of names and free text, and what they hold
    dates  columns of dates in another form than ISO 8601: a cell, and the likely form
    cells  that are not what their column holds
    """

    def __init__(self, table: Table, keys: ColumnKeys) -> None:
        self.table, self.keys = table, keys
        self.seen: list[str] = []
        self.empty: list[str] = []
        self.names: dict[str, str] = {}
        self.dates: dict[str, tuple[str, str]] = {}
        self.cells: list[BadCells] = []

    def kind_of(self, name: str) -> tuple[type[Column], Any]:
        """Return the kind of a column: numbers with their unit, dates with their form, or texts."""
        self.seen.append(name)
        cells = self.table.column(name, "data.columns")
        missing = self.table.format.is_missing(cells)
        if missing.all():
            self.empty.append(name)
            return Categorical, None
        present = cells.filter(~missing) if missing.any() else cells
        if name in self.keys.categorical:
            counts = present.n_unique(), len(present)
            self._note_names(name, present.dtype, *counts, chosen=True)
            return Categorical, None
        if name in self.keys.dates:
            return self._dates(name, self.keys.dates[name])
        if self._is_numeric(cells, present):
            return self._numbers(name, cells, present, "")
        different = present.unique(maintain_order=True)  # a text's form is seen once
        if unit := self.table.format.unit_of(different):
            return self._numbers(name, cells, present, unit)
        if is_iso_date(different).all():
            return self._dates(name, None)
        self._note_texts(name, cells, missing, different)
        return Categorical, None

    def _is_numeric(self, cells: "pl.Series", present: "pl.Series") -> bool:
        import polars as pl

        if cells.dtype != pl.String:
            return True
        return bool(self.table.format.as_numbers(present).is_not_null().any())

    def _numbers(
        self, name: str, cells: "pl.Series", present: "pl.Series", unit: str
    ) -> tuple[type[Column], Any]:
        _, wrong = self.table.format.numbers(cells, unit)
        if number := int(wrong.sum()):
            bad = not_numbers(self.table, name, cells, wrong, unit)
            is_text = bad.what == "is no number" and bad.cells.n_unique() > LEAST_ROWS // 2
            if is_text and number > MIXED * len(present):
                texts = f"holds {len(present) - number:,} numbers and {number:,} texts"
                self.names[name] = texts
            else:
                self.cells.append(bad)
        return Numeric, unit

    def _dates(self, name: str, form: str | None) -> tuple[type[Column], Any]:
        self.cells.append(dates_and_bad_cells(self.table, name, form)[1])
        return Dated, form

    def _note_texts(
        self, name: str, cells: "pl.Series", missing: "pl.Series", different: "pl.Series"
    ) -> None:
        """Note texts that are numbers or dates in another spelling, or that name their row.

        different  the texts, each once
        """
        how, key = spelling_of(different)
        if key:
            rows = (~missing).arg_true()
            others = "numbers are written with a point, thousands without a separator"
            self.cells.append(BadCells(name, rows, cells.gather(rows), how, others, key))
        elif form := date_form(different):
            self.dates[name] = (different[0], form)
        else:
            number = len(cells) - int(missing.sum())
            self._note_names(name, different.dtype, len(different), number, chosen=False)

    def _note_names(
        self, name: str, dtype: "pl.DataType", different: int, cells: int, chosen: bool
    ) -> None:
        """Note a column with too many different cells, of those that are not missing."""
        import polars as pl

        is_id = different == cells >= LEAST_ROWS or different > max(FEW, cells / 2)
        if different > MOST_CATEGORIES or (is_id and not chosen):
            kind = "texts" if dtype == pl.String else "numbers"
            self.names[name] = f"holds {different:,} different {kind} in {cells:,} cells"

    def refuse(self) -> None:
        """Raise DataError for what was found: columns that are no inputs, then wrong cells."""
        if self.empty or self.names:
            self._refuse_columns()
        if self.dates:
            self._refuse_dates()
        bad_cells.refuse(self.table, self.cells)

    def _refuse_columns(self) -> None:
        out = [*self.empty, *self.names]
        ids = list(id_columns(self.table, self.seen))
        described = [f"{quoted(name)} is empty in every row" for name in self.empty]
        described += [f"{quoted(name)} {holds}" for name, holds in self.names.items()]
        if len(out) == 1 and self.empty:
            what, described = f"column {described[0]}", []
        elif len(out) == 1:
            what = f"column {described[0]}: names, not categories (at most {MOST_CATEGORIES:,})"
            described = []
        else:
            what = f"{len(out):,} columns hold names, ids or free text, not categories"
        more = [f"and {len(described) - SHOWN:,} more"] * (len(described) > SHOWN)
        likely = f"{named(ids)} also looks like an id" if ids else ""
        why = "; ".join([*described[:SHOWN], *more, *[likely] * bool(likely)])
        chosen: list[Any] = [
            *self.keys.exclude,
            *[name for name in self.table.names if name in {*out, *ids}],
        ]
        raise DataError(f"{self.table.path}: {what}", why, f"data.exclude: {write(chosen)}")

    def _refuse_dates(self) -> None:
        name, (cell, _) = next(iter(self.dates.items()))
        more = f", and {len(self.dates) - 1:,} more columns" * (len(self.dates) > 1)
        forms: dict[str, Any] = {each: form for each, (_, form) in self.dates.items()}
        raise DataError(
            f"{self.table.path}: column {quoted(name)} holds dates like {quoted(cell)}{more}",
            "only dates like 2024-02-29 are read without being told their form",
            f"data.dates: {write({**self.keys.dates, **forms})}, or data.categorical: "
            f"{write([*self.keys.categorical, *self.dates])}",
        )


def id_columns(table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yield those of some columns that are named as ids and hold different integers alone."""
    import polars as pl

    for name in names:
        if re.search(ID_NAME, name) is None or len(table) < LEAST_ROWS:
            continue
        cells = table.column(name, "")
        if cells.dtype == pl.String or cells.has_nulls():
            continue
        if bool((cells == cells.floor()).all()) and cells.n_unique() == len(cells):
            yield name
