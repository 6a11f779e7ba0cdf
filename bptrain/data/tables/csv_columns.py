"""Named columns of a CSV or TSV file, as text: the first row names them, every row has them all.

The delimiter is a comma, in files that end in .tsv or .tab a tab; a field may be quoted.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from bptrain.data.tables.csv_dialect import Dialect, Quoting
from bptrain.data.tables.csv_errors import holds_rows, swallowed_rows
from bptrain.data.text.text_file import read_text
from bptrain.errors import DataError

TABULATED = (".tsv", ".tab")
SUFFIXES = (".csv", *TABULATED)


@dataclass(frozen=True)
class Row:
    """The fields of some columns in a row; `place` is its file, number and line, for errors."""

    place: str
    fields: tuple[str, ...]


def read_columns(path: Path, columns: Sequence[str], quoting: Quoting = "double") -> list[Row]:
    """Return the columns of each row of a file, as `columns_of` does of its text."""
    delimiter = "\t" if path.suffix.lower() in TABULATED else ","
    return columns_of(read_text(path), str(path), columns, delimiter, quoting)


def columns_of(
    text: str,
    source: str,
    columns: Sequence[str],
    delimiter: str = ",",
    quoting: Quoting = "double",
) -> list[Row]:
    """Return the columns of each row, in the order of `columns`; `source` is named in errors.

    Lines without anything are left out. Raises DataError for a text that is damaged, has no rows,
    or lacks a column.
    """
    records = _records(text, source, Dialect(quoting=quoting), delimiter)
    _, header = next(records, (0, []))
    if not any(header):
        raise DataError(f"{source}: no header", "the first row names the columns")
    places = [place_of(source, header, column) for column in columns]
    rows = []
    for number, (line, fields) in enumerate(records, start=1):
        place = f"{source}: row {number:,} (line {line:,})"
        for field in fields:
            if "\n" in field and holds_rows(field, delimiter, len(header) - 1):
                raise swallowed_rows(source, field, line + "".join(fields).count("\n"))
        if len(fields) != len(header):
            raise DataError(
                f"{place}: {len(fields)} fields, the header names {len(header)}",
                "a delimiter or a quote too many or too few",
                'quote a field that holds the delimiter: "so, and so"',
            )
        rows.append(Row(place, tuple(fields[index] for index in places)))
    if not rows:
        raise DataError(f"{source}: no rows below the header")
    return rows


def _records(
    text: str, source: str, dialect: Dialect, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line that has any, and the line where it begins."""
    # strict: a quote that is never closed would otherwise swallow the rows after it
    reader = dialect.reader(StringIO(text, newline=""), delimiter, skips_spaces=False)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}: no CSV from line {line:,} on",
            str(error),
            "a quote within a quoted field is written twice; data.quoting: none, if quotes are "
            "characters like others",
        ) from error


def place_of(source: str, header: Sequence[str], column: str) -> int:
    """Return the index of a column, or raise DataError with the nearest name there is."""
    if header.count(column) == 1:
        return header.index(column)
    if column in header:
        raise DataError(f"{source}: {header.count(column)} columns named {column!r}")
    near = get_close_matches(column, header, 1)
    raise DataError(
        f"{source}: no column {column!r}",
        f"the first row names {', '.join(map(repr, header))}",
        f"did you mean {near[0]!r}?" if near else "",
    )
