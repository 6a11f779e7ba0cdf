"""The missing cells of a table: rows left out for them, or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bptrain.data.tables.table import Table, listed
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class MissingCells:
    """The missing cells of a column: how many, and the first of them and its place in the file."""

    count: int
    cell: str
    place: str


def without_missing(table: Table, names: Sequence[str], key: str = "missing") -> Table:
    """Return the rows in which none of the columns misses a cell.

    key  of the config by which the others are left out
    """
    missing = np.zeros(len(table), bool)
    for name in names:
        missing |= table.format.is_missing(table.column(name, "data.columns")).to_numpy()
    whole = np.flatnonzero(~missing)
    if not len(whole):
        raise DataError(
            f"{table.path}: every row misses a cell",
            f"in {listed(names)}",
            "data.missing: mean uses such rows" if key == "missing" else "another data.target",
        )
    return table if len(whole) == len(table) else table.select(whole)


def rows_without(table: Table, names: Sequence[str]) -> "dict[str, pl.Series]":
    """Return the rows that miss a cell of a column, counted from 0, for each that misses some."""
    missing = {
        name: table.format.is_missing(table.column(name, "data.columns")).arg_true()
        for name in names
    }
    return {name: rows for name, rows in missing.items() if len(rows)}


def missing_cells(table: Table, name: str, rows: "pl.Series") -> MissingCells:
    """Return the cells that a column misses, which are in these rows."""
    cell = table.column(name, "data.columns")[rows[0]]
    return MissingCells(len(rows), "" if cell is None else cell, table.place(rows[0]))


def refuse_missing(table: Table, names: Sequence[str], hint: str) -> None:
    """Raise DataError for the missing cells of the columns, the first of them by its place."""
    found = {
        name: missing_cells(table, name, rows) for name, rows in rows_without(table, names).items()
    }
    if found:
        raise error_of(table.path, found, hint)


def error_of(path: Path, found: Mapping[str, MissingCells], hint: str) -> DataError:
    """Return the error for the missing cells of some columns, each of which has one."""
    name, first = next(iter(found.items()))
    others = [f"{each.count:,} in {name!r}" for name, each in found.items()]
    all_cells = sum(each.count for each in found.values())
    more = f"; {all_cells:,} cells are missing: {', '.join(others[:8])}" * (all_cells > 1)
    return DataError(
        f"{path}: a missing cell in column {name!r}",
        f"{first.place} holds {first.cell!r}{more}",
        hint,
    )
