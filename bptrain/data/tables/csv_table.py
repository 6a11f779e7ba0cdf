"""CSV and TSV tables: read by polars in blocks, or row by row where a file is irregular.

polars reads a million rows in a second, but it also reads broken files: it fills short rows with
empty cells and takes any byte for text. What it read is therefore used only if the file's bytes
prove it right (`regular_blocks.py`). Other files (blank lines, a space before a quotation mark,
rows of different lengths) are read by Python's csv module in strict mode, some ten times slower:
it accepts the first two, and finds the row to name in an error.
"""

import csv
from collections.abc import Collection, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bptrain.data.encodings import HEAD, is_utf16
from bptrain.data.file_kinds import refuse_other_formats
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.collected_columns import CollectedColumns
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.csv_errors import (
    RaggedRows,
    not_text,
    refuse_comment,
    refuse_swallowed_rows,
    unquotable,
)
from bptrain.data.tables.regular_blocks import (
    LONGEST_LINE,
    IrregularError,
    end_of_last_row,
    frames_of,
)
from bptrain.data.tables.table import MOST_CELLS, Table, checked_names, listed
from bptrain.data.text.text_file import refuse_what_does_not_fit
from bptrain.errors import DataError

MEMORY = 4  # bytes held at most for each byte of a file, besides the cells that MOST_CELLS limits
ROWS = 20_000  # that are read one by one before their numbers are told from texts
DIRECTIVE = "sep="  # first line of a file that Excel wrote, or should open


def read_csv(
    path: Path,
    dialect: Dialect | None = None,
    form: CellFormat | None = None,
    texts: Collection[str] | None = None,
    most_bytes: int | None = None,
) -> Table:
    """Return the table in a file, or raise DataError naming what is wrong and where.

    texts       the columns that stay text where they hold numbers alone; None for all
    most_bytes  of the file that are read, as far as they are whole rows; None for all
    """
    size = path.stat().st_size
    is_part = most_bytes is not None and size > most_bytes
    refuse_what_does_not_fit(path, min(size, most_bytes or size) * MEMORY)
    dialect, form = dialect or Dialect(), form or CellFormat()
    with _opened(path, dialect, most_bytes if is_part else None) as file:
        reader = _Reader(path, file, dialect)
        names = reader.names()
        collected = CollectedColumns(path, names, form, texts)
        table = _read_regular(reader, collected)
        if table is None:
            table = _read_rows(reader, CollectedColumns(path, names, form, texts))
    return replace(table, is_part=is_part)


def _opened(path: Path, dialect: Dialect, most_bytes: int | None) -> BinaryIO:
    """Return a file's bytes as UTF-8, or raise DataError for one that holds no text.

    most_bytes  fewer than the file has, to read only the whole rows in them
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    refuse_other_formats(path, head)
    if dialect.encoding == "utf-8":
        if is_utf16(head):
            raise not_text(path, head, 0, 1)
        return path.open("rb") if most_bytes is None else _first_rows(path, dialect, most_bytes)
    if most_bytes is not None:
        return _first_rows(path, dialect, most_bytes)
    content = path.read_bytes()
    try:
        return BytesIO(content.decode(dialect.encoding).removeprefix("\ufeff").encode())
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = content.count(b"\n", 0, start) + 1
        raise not_text(path, content, start, line, dialect.encoding) from error


def _first_rows(path: Path, dialect: Dialect, most_bytes: int) -> BinaryIO:
    """Return as UTF-8 the whole rows in the first bytes of a file."""
    with path.open("rb") as file:
        content = file.read(most_bytes)
    if dialect.encoding != "utf-8":  # a character that the end cuts in two is dropped with its row
        content = content.decode(dialect.encoding, "ignore").removeprefix("\ufeff").encode()
    return BytesIO(content[: end_of_last_row(content, dialect.quote) or len(content)])


class _Reader:
    """A file whose header has been read: its names, its separator, and where its rows begin."""

    def __init__(self, path: Path, file: BinaryIO, dialect: Dialect) -> None:
        self.path, self.file, self.dialect = path, file, dialect
        first = next(self._all_lines(), "")
        self.skipped = 1 if first.lower().startswith(DIRECTIVE) else 0
        given = first.rstrip("\r\n")[len(DIRECTIVE) :]
        self.separator = given if self.skipped and len(given) == 1 else ""
        header = next(filter(str.strip, self.lines()), "")
        if dialect.delimiter != "auto" or not self.separator:
            self.separator = dialect.separator(header)

    def names(self) -> list[str]:
        """Return the names of the columns, or raise DataError."""
        _, first = next(self.rows(), (0, []))
        if not first:
            raise DataError(f"{self.path}: is empty", "", "the first row names the columns")
        refuse_comment(self.path, self.separator.join(first), len(first))
        return checked_names(self.path, self.dialect.names(self.path, first))

    def start(self) -> None:
        """Go to the first line, behind a directive."""
        self.file.seek(0)
        for _ in range(self.skipped):
            self.file.readline(LONGEST_LINE)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table."""
        return islice(self._all_lines(), self.skipped, None)

    def _all_lines(self) -> Iterator[str]:
        """Yield the lines of a file as text, or raise DataError with the byte that is none."""
        start = 0
        self.file.seek(0)
        lines = iter(lambda: self.file.readline(LONGEST_LINE + 1), b"")
        for count, line in enumerate(lines, start=1):
            if b"\0" in line:
                raise not_text(self.path, line, line.index(b"\0"), count, before=start)
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{self.path}: line {count:,} is longer than {LONGEST_LINE:,} bytes"
                )
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                whole = line + self.file.read()
                raise not_text(self.path, whole, error.start, count, before=start) from error
            yield text.removeprefix("\ufeff") if start == 0 else text
            start += len(line)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not blank, each with the line where it ends."""
        reader = self.dialect.reader(self.lines(), self.separator)
        try:
            for cells in reader:
                if len(cells) > 1 or "".join(cells).strip():
                    yield reader.line_num + self.skipped, cells
        except csv.Error as error:
            line = reader.line_num + self.skipped
            raise unquotable(self.path, line, error, self.dialect.quoting) from error


def _read_rows(reader: _Reader, collected: CollectedColumns) -> Table:
    """Return the table of the rows below the header, read one by one, or raise DataError."""
    import polars as pl

    names, rows = collected.names, reader.rows()
    if reader.dialect.names_first_row:
        next(rows)
    ragged = RaggedRows(reader.path, len(names), reader.separator)
    number = 0
    while chunk := list(islice(rows, ROWS)):
        kept = []
        for line, cells in chunk:
            number += 1
            if len(cells) != len(names):
                ragged.note(number, line, cells)
            else:
                kept.append([cell.strip() for cell in cells])
        if kept and not ragged.count:
            lines = np.array([line for line, _ in chunk])
            frame = pl.DataFrame(dict(zip(names, zip(*kept, strict=True), strict=True)))
            refuse_swallowed_rows(reader.path, frame, lines, reader.separator)
            collected.add(frame, lines)
    ragged.refuse()
    return _whole(reader.path, collected)


def _read_regular(reader: _Reader, collected: CollectedColumns) -> Table | None:
    """Return the table in a file as polars reads it, or None if that may not be what it holds."""
    names, dialect = collected.names, reader.dialect
    if len(names) == 1:  # an empty cell is a blank line
        return None
    reader.start()
    line = reader.skipped
    is_header = dialect.names_first_row
    try:
        for frame, ends in frames_of(reader.file, names, reader.separator, dialect.quote):
            if (collected.rows + frame.height) * len(names) > MOST_CELLS:
                return None
            below = frame.slice(1) if is_header else frame
            lines = ends[is_header:] + line
            line, is_header = line + int(ends[-1]), False
            refuse_swallowed_rows(reader.path, below, lines, reader.separator)
            collected.add(below, lines)
    except IrregularError:
        return None
    return _whole(reader.path, collected) if collected.rows else None


def _whole(path: Path, collected: CollectedColumns) -> Table:
    if not collected.rows:
        raise DataError(
            f"{path}: has a header and no rows", f"its columns are {listed(collected.names)}"
        )
    return collected.table()
