"""`compare`: a table of many runs."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from bptrain import tags
from bptrain.errors import UsageError, printable, shorten
from bptrain.experiment.comparing import Row, compared, sorted_by
from bptrain.experiment.run_record import FINISHED
from bptrain.monitor.console import duration

LONGEST_VALUE, LONGEST_STATUS = 30, 60  # characters of a config's value, of how a run ended


class Column(NamedTuple):
    """A column of the table, and its cell in a row."""

    heading: str
    cell: Callable[[Row], str]
    is_number: bool = False


def compare(places: Sequence[Path], as_json: bool, sort: str, console: Console) -> None:
    """Print the runs in these folders, those that cannot be read on stderr."""
    found = compared(places)
    for each in found.unreadable:
        print(printable(f"left out: {each}"), file=sys.stderr)
    if not found.rows:
        raise UsageError("none of the runs can be read", hint="`bptrain report RUN` says more")
    rows = sorted_by(found, sort) if sort else found.rows
    if as_json:
        content = {"runs": [row._asdict() for row in rows], "unreadable": found.unreadable}
        print(json.dumps(content))
    else:
        for table in tables_of(rows, console.width):
            console.print(table)


def tables_of(rows: Sequence[Row], width: int) -> list[Table]:
    """Return the runs as a table; in several below each other where one would be too wide."""
    name, *others = columns_of(rows)
    parts: list[list[Column]] = [[name]]
    for each in others:
        if len(parts[-1]) > 1 and sum(_width(c, rows) for c in [*parts[-1], each]) >= width:
            parts.append([name])
        parts[-1].append(each)
    return [_table(part, rows) for part in parts]


def _width(column: Column, rows: Sequence[Row]) -> int:
    """Return how many characters a column takes, with its border."""
    return 3 + max(cell_len(text) for text in (column.heading, *map(column.cell, rows)))


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    table = Table()
    for each in columns:
        justify: Literal["left", "right"] = "right" if each.is_number else "left"
        table.add_column(printable(each.heading), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(printable(each.cell(row)) for each in columns))
    return table


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return the columns: how the configs differ, and then what came of it.

    Metrics are empty in rows of other tasks; what is the same in all rows is left out.
    """
    columns = [Column("run", lambda row: row.run)]
    if len({row.task for row in rows}) > 1:
        columns.append(Column("task", lambda row: row.task.replace("_", " ")))
    columns += [_of_config(key) for key in dict.fromkeys(key for r in rows for key in r.config)]
    if any(row.ending != FINISHED for row in rows):
        columns.append(Column("status", lambda row: shorten(row.ending, LONGEST_STATUS)))
    tested = (tag for row in rows for tag in row.final if tag.startswith("test/"))
    return [
        *columns,
        Column("verdicts", lambda row: ", ".join(row.verdicts).replace("_", " ") or "none"),
        *(_of_best(tag) for tag in dict.fromkeys(tag for row in rows for tag in row.best)),
        *(_of_final(tag) for tag in dict.fromkeys([*tested, tags.TRAIN_LOSS])),
        Column("steps", lambda row: f"{row.step:,}", is_number=True),
        Column("time", lambda row: duration(row.time_s), is_number=True),
    ]


def _of_config(key: str) -> Column:
    return Column(key, lambda row: _value(row.config[key]) if key in row.config else "")


def _of_best(tag: str) -> Column:
    return Column(f"best {tag}", lambda row: _number(row.best.get(tag)), is_number=True)


def _of_final(tag: str) -> Column:
    return Column(tag, lambda row: _number(row.final.get(tag)), is_number=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _value(value: Any) -> str:
    return shorten(value if isinstance(value, str) else json.dumps(value), LONGEST_VALUE)
