"""Tables of text cells from CSV or Parquet files, refused where they break.

A CSV file is read line by line: neither a line, a cell nor a header can make the reader hold more
than the limits below. Cells are stripped of the space around them; blank lines are skipped.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from bptrain.data.tables.parquet_file import SUFFIXES, read_parquet
from bptrain.data.tables.table_header import checked_names, listed, number, quoted, refuse_if_huge
from bptrain.errors import DataError

Delimiter = Literal["auto", ",", ";", "|", "tab"]

CHARACTERS = {"tab": "\t"}
CANDIDATES = (",", ";", "\t", "|")
LONGEST_LINE = 2**22  # bytes; a cell is at most 131,072 characters, which csv itself sees to


@dataclass(frozen=True)
class Table:
    """Columns of text, by name.

    rows   the number of each row in the file, from 1
    lines  the line where each row of the file ends; none for Parquet
    """

    path: Path
    columns: dict[str, list[str]]
    rows: Sequence[int]
    lines: Sequence[int] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def place(self, row: int) -> str:
        """Return where a row, counted from 0, stands in the file."""
        number = self.rows[row]
        return (
            f"row {number:,} (line {self.lines[number - 1]:,})" if self.lines else f"row {number:,}"
        )

    def select(self, rows: Sequence[int]) -> "Table":
        """Return the table of these rows, counted from 0."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Table(self.path, columns, [self.rows[row] for row in rows], self.lines)

    def column(self, name: str, key: str) -> list[str]:
        """Return the cells of a column, or raise DataError with the one that was probably meant.

        key  of the config that names the column
        """
        if name in self.columns:
            return self.columns[name]
        meant = get_close_matches(name, self.columns, n=1)
        raise DataError(
            f"{self.path}: no column {quoted(name)}, which {key} names",
            f"its columns are {listed(self.columns)}",
            f"did you mean {quoted(meant[0])}" if meant else "",
        )


def read_table(path: Path, delimiter: Delimiter = "auto") -> Table:
    """Return the table in a file, or raise DataError naming what is wrong and where."""
    # what is no file (a pipe, a device) might never end
    if not path.is_file():
        found = (
            "is a directory" if path.is_dir() else "is no file" if path.exists() else "not found"
        )
        raise DataError(f"{path}: {found}", "", "data.path names a CSV or Parquet file")
    try:
        if path.suffix.lower() in SUFFIXES:
            columns = read_parquet(path)
            return Table(path, columns, range(1, len(next(iter(columns.values()))) + 1))
        with path.open("rb") as file:
            return _read_csv(path, _decoded(path, file), delimiter)
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error


def _decoded(path: Path, file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file as text, or raise DataError with the byte that is none."""
    start = 0
    for count, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
        hint = "save the table as CSV in UTF-8"
        if b"\0" in line:
            at = start + line.index(b"\0")
            raise DataError(f"{path}: no text", f"byte {at:,}, in line {count:,}, is NUL", hint)
        if len(line) > LONGEST_LINE:
            raise DataError(f"{path}: line {count:,} is longer than {LONGEST_LINE:,} bytes")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            at = start + error.start
            why = f"byte {at:,}, in line {count:,}, is 0x{line[error.start]:02x}"
            raise DataError(f"{path}: not UTF-8 text", why, hint) from error
        yield text.removeprefix("\ufeff") if start == 0 else text
        start += len(line)


def _read_csv(path: Path, lines: Iterator[str], delimiter: Delimiter) -> Table:
    head = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    else:
        raise DataError(f"{path}: is empty", "", "the first row names the columns")
    separator = (
        _separator(head[-1]) if delimiter == "auto" else CHARACTERS.get(delimiter, delimiter)
    )
    reader = csv.reader(chain(head, lines), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        names = _header(path, next(_rows(reader)))
        rows, ends = [], array("Q")
        for cells in _rows(reader):
            ends.append(reader.line_num)
            if len(cells) != len(names):
                where = f"row {len(ends):,} (line {reader.line_num:,})"
                raise DataError(
                    f"{path}: {where} has {len(cells):,} cells",
                    f"the header names {len(names):,} columns, parted by {separator!r}",
                    "text that holds the separator stands in quotes; or data.delimiter is another",
                )
            rows.append(cells)
            refuse_if_huge(path, len(rows), len(names))
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num:,}: {error}",
            "a quotation mark that is never closed, text behind one, or lines that end in CR alone",
        ) from error
    if not rows:
        raise DataError(f"{path}: has a header and no rows", f"its columns are {listed(names)}")
    columns = (list(map(str.strip, cells)) for cells in zip(*rows, strict=True))
    return Table(path, dict(zip(names, columns, strict=True)), range(1, len(rows) + 1), ends)


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield the rows that are not blank."""
    return (cells for cells in reader if len(cells) > 1 or "".join(cells).strip())


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    """Return the names in the first row of a file, or raise DataError if it holds numbers."""
    if all(number(cell.strip()) is not None for cell in cells):
        raise DataError(
            f"{path}: no header",
            f"the first row holds numbers: {listed(cells)}",
            "name the columns",
        )
    return checked_names(path, cells)


def _separator(header: str) -> str:
    """Return the character that parts a header into the most names, a comma if none does."""

    def names(separator: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=separator)))
        except csv.Error:
            return 0  # which is told when the header is read

    return max(CANDIDATES, key=names)
