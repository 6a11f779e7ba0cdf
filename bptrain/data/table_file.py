"""Tables of text cells from CSV or Parquet files, refused where they break.

A CSV file is read line by line: neither a line, a cell nor a header can make the reader hold more
than the limits below. Cells are stripped of the space around them; blank lines are skipped.
"""

import csv
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from bptrain.errors import DataError, shorten

Delimiter = Literal["auto", ",", ";", "|", "tab"]

PARQUET = (".parquet", ".pq")
CHARACTERS = {"tab": "\t"}
CANDIDATES = (",", ";", "\t", "|")
MOST_COLUMNS = 10_000
MOST_CELLS = 2 * 10**8  # text cells take some 60 bytes each: 12 GB
LONGEST_LINE = 2**22  # bytes; a cell is at most 131,072 characters, which csv itself sees to
SHOWN = 40  # characters of a cell or a name in a message


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
        if path.suffix.lower() in PARQUET:
            return _read_parquet(path)
        with path.open("rb") as file:
            return _read_csv(path, _decoded(path, file), delimiter)
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error


def quoted(text: str) -> str:
    """Return a cell or a name as messages show it."""
    return repr(shorten(text, SHOWN))


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return the first of many names."""
    shown = [quoted(name) for name in names]
    more = f", ... ({len(shown):,} in all)" * (len(shown) > most)
    return ", ".join(shown[:most]) + more


def _decoded(path: Path, file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file as text, or raise DataError with the byte that is none."""
    start = 0
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
        hint = "save the table as CSV in UTF-8"
        if b"\0" in line:
            at = start + line.index(b"\0")
            raise DataError(f"{path}: no text", f"byte {at:,}, in line {number:,}, is NUL", hint)
        if len(line) > LONGEST_LINE:
            raise DataError(f"{path}: line {number:,} is longer than {LONGEST_LINE:,} bytes")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            at = start + error.start
            why = f"byte {at:,}, in line {number:,}, is 0x{line[error.start]:02x}"
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
        names = _checked(path, next(_rows(reader)))
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
            _refuse_if_huge(path, len(rows), len(names))
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


def _separator(header: str) -> str:
    """Return the character that parts a header into the most names, a comma if none does."""

    def names(separator: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=separator)))
        except csv.Error:
            return 0  # which is told when the header is read

    return max(CANDIDATES, key=names)


def _checked(path: Path, header: Sequence[str]) -> list[str]:
    """Return the names of the columns, or raise DataError."""
    names = [name.strip() for name in header]
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read")
    if all(number(name) is not None for name in names):
        raise DataError(
            f"{path}: no header",
            f"the first row holds numbers: {listed(names)}",
            "name the columns",
        )
    if "" in names:
        hint = "of pandas' to_csv, index=False leaves its own column out"
        raise DataError(f"{path}: column {names.index('') + 1:,} has no name", "", hint)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: two columns have the same name: {listed(repeated)}")
    return names


def _refuse_if_huge(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MOST_CELLS:
        raise DataError(
            f"{path}: more than {MOST_CELLS:,} cells",
            f"{rows:,} rows of {columns:,} columns",
            "take a part of the rows or columns",
        )


def number(cell: str) -> float | None:
    """Return the number that a cell spells, NaN and infinity among them; None for text."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return None if "_" in cell else value  # Python's own 1_000 is no number elsewhere


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet files need the package pyarrow",
            "bptrain does not depend on it",
            "pip install pyarrow, or save the table as CSV",
        ) from error
    try:
        file = parquet.ParquetFile(path)
        # a few bytes may declare any number of equal cells: asked before they are unpacked
        _refuse_if_huge(path, file.metadata.num_rows, max(1, file.metadata.num_columns))
        names = _checked(path, file.schema_arrow.names)
        nested = [each.name for each in file.schema_arrow if pyarrow.types.is_nested(each.type)]
        if nested:
            raise DataError(f"{path}: cells hold lists or records in column {listed(nested)}")
        contents = [column.to_pylist() for column in file.read().columns]
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"{path}: no sound Parquet file", shorten(str(error))) from error
    if not contents or not contents[0]:
        raise DataError(f"{path}: has no rows", f"its columns are {listed(names)}")
    columns = [["" if cell is None else str(cell).strip() for cell in cells] for cells in contents]
    return Table(path, dict(zip(names, columns, strict=True)), range(1, len(columns[0]) + 1))
