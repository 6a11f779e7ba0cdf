"""Rows with cells that a run cannot read: missing ones, and what is no number or no date.

Their messages are those of a table that is read as a whole; they need but the first bad cells of
each column.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bptrain.data.tables import bad_cells, missing_cells
from bptrain.data.tables.bad_cells import BadCells
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.column_encoding import Categorical, Column, Dated, Numeric
from bptrain.data.tables.missing_cells import MissingCells, rows_without
from bptrain.data.tables.table import Table
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

KEPT = 1_000  # bad cells of a column that are explained


class UnfitRows:
    """The rows of a table, read in parts, that have a cell which a run cannot read.

    refuses_missing  why a missing cell is such, and what to do; "" if it is not
    """

    def __init__(self, path: Path, columns: Sequence[Column], refuses_missing: str) -> None:
        self.path, self.refuses_missing = path, refuses_missing
        self.names = [column.name for column in columns]
        self.checked = [each for each in columns if not isinstance(each, Categorical)]
        self.count = 0
        self._missing: dict[str, MissingCells] = {}
        self._bad = {each.name: _FirstCells(each) for each in self.checked}

    def without(self, table: Table) -> Table:
        """Return a part of the table without its unfit rows, which are noted."""
        unfit = np.zeros(len(table), bool)
        if self.refuses_missing:
            for name, rows in rows_without(table, self.names).items():
                unfit[rows] = True
                self._note_missing(name, missing_cells.missing_cells(table, name, rows))
        for column in self.checked:
            rows, cells = column.bad_cells(table)
            unfit[rows] = True
            self._bad[column.name].add(table, rows, cells)
        self.count += int(unfit.sum())
        return table.select(np.flatnonzero(~unfit)) if unfit.any() else table

    def errors(self) -> Iterator[DataError]:
        """Yield the errors that name the missing cells, and the bad ones."""
        missing = {name: self._missing[name] for name in self.names if name in self._missing}
        if missing:
            yield missing_cells.error_of(self.path, missing, self.refuses_missing)
        bad = [each for each in self._bad.values() if each.count]
        if bad:
            places = {row: place for each in bad for row, place in each.places.items()}
            explained = [each.explained() for each in bad]
            total = sum(each.count for each in bad)
            yield bad_cells.error_of(_Rows(self.path, places), explained, total)

    def _note_missing(self, name: str, found: MissingCells) -> None:
        before = self._missing.get(name)
        counted = found if before is None else replace(before, count=before.count + found.count)
        self._missing[name] = counted


class _FirstCells:
    """The bad cells of a column: how many, and the first of them.

    places  of their rows in the file, by the rows' numbers
    """

    def __init__(self, column: Numeric | Dated) -> None:
        self.column, self.count = column, 0
        self.cells: list[str] = []
        self.places: dict[int, str] = {}
        self.form = CellFormat()

    def add(self, table: Table, rows: "pl.Series", cells: "pl.Series") -> None:
        """Add bad cells of a part of the table, and their rows in it."""
        import polars as pl

        self.count, self.form = self.count + len(rows), table.format
        room = KEPT - len(self.cells)
        self.cells += cells[:room].cast(pl.String).to_list()
        self.places |= {table.number(row): table.place(row) for row in rows[:room]}

    def explained(self) -> BadCells:
        """Return the first cells with what is wrong with them."""
        import polars as pl

        return self.column.explained(self.form, pl.Series(list(self.places)), pl.Series(self.cells))


class _Rows(NamedTuple):
    """A file, and where some of its rows are, by their numbers."""

    path: Path
    places: Mapping[int, str]

    def place(self, row: int) -> str:
        """Return the position in the file of a row."""
        return self.places[row]
