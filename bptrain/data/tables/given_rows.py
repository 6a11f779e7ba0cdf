"""Rows that a program gives as mappings, as the table that a file of them would be."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from math import isnan
from pathlib import Path
from typing import Any

from bptrain.data.given_arrays import Array, place_of
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.collected_columns import CollectedColumns
from bptrain.data.tables.table import Table, listed, quoted
from bptrain.errors import DataError

NAME = Path("the rows")  # in messages


def table_of_rows(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    form: CellFormat,
    texts: Collection[str],
) -> Table:
    """Return the columns `names` of rows; further keys are ignored, as in a file.

    texts  the columns that stay text

    A number is spelled with a point, whatever the decimal point of the run's files is; None and
    NaN are missing cells. Raises DataError for a row without one of the columns.
    """
    import polars as pl

    cells = {
        name: [cell_of(row, name, number) for number, row in enumerate(rows)] for name in names
    }
    collected = CollectedColumns(NAME, names, replace(form, decimal=".", thousands=""), texts)
    collected.add(pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String)))
    return collected.table()


def stacked_rows(arrays: Sequence[Array], names: Sequence[str]) -> list[list[Any]]:
    """Return rows of numbers, each with a cell for every column, or raise DataError."""
    for number, array in enumerate(arrays):
        if array.shape != (len(names),):
            raise DataError(
                f"{place_of(number)}: its shape is {list(array.shape)}",
                f"a row has the {len(names):,} columns {listed(names)}",
                "the first axis counts the rows; or give each row as a mapping",
            )
    return [array.tolist() for array in arrays]


def cell_of(row: Mapping[str, Any], name: str, number: int) -> str:
    """Return a cell as the text that a file would hold; `number` is the row's, from 0."""
    if name not in row:
        raise DataError(
            f"{place_of(number)}: no column {quoted(name)}",
            f"its columns are {listed(map(str, row))}",
            "None stands for a missing cell",
        )
    value = row[name]
    if hasattr(value, "item"):  # a scalar of numpy or torch
        value = value.item()
    if value is None or (isinstance(value, float) and isnan(value)):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return repr(value)
    raise DataError(
        f"{place_of(number)}: column {quoted(name)} holds a {type(value).__name__}",
        "a cell is a number, a text, a truth value, a date or None",
    )
