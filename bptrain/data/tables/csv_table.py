"""CSV and TSV tables: read by polars in blocks, or row by row where a file is irregular.

polars reads a million rows in a second, but it also reads broken files: it fills short rows with
empty cells and takes any byte for text. What it read is therefore used only if the file's bytes
prove it right (`regular_blocks.py`). Other files (blank lines, a space before a quotation mark,
rows of different lengths) are read by Python's csv module in strict mode, some ten times slower:
it accepts the first two, and finds the row to name in an error.
"""

import csv
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bptrain.data.tables.blocks import Block
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.collected_columns import CollectedColumns
from bptrain.data.tables.csv_bytes import opened
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.csv_errors import (
    RaggedRows,
    not_text,
    refuse_comment,
    refuse_swallowed_rows,
    unquotable,
)
from bptrain.data.tables.regular_blocks import LONGEST_LINE, IrregularError, frames_of
from bptrain.data.tables.table import Table, checked_names, listed
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
    with open_csv(path, dialect or Dialect(), most_bytes if is_part else None) as reader:
        collected = CollectedColumns(path, reader.names, form or CellFormat(), texts)
        for block in reader.blocks():
            if not reader.ragged.count:
                collected.add(block.frame, block.lines)
        reader.ragged.refuse()
    return replace(collected.table(), is_part=is_part)


@contextmanager
def open_csv(path: Path, dialect: Dialect, most_bytes: int | None = None) -> "Iterator[CsvReader]":
    """Open a file whose rows are read a block at a time, or raise DataError for its header.

    most_bytes  fewer than the file has, to read only the whole rows in them
    """
    with opened(path, dialect, most_bytes) as file:
        yield CsvReader(path, file, dialect)


class CsvReader:
    """A file whose header has been read: its names, its separator, and where its rows begin.

    ragged  the rows that were passed by so far, because they have too few cells or too many
    """

    def __init__(self, path: Path, file: BinaryIO, dialect: Dialect) -> None:
        self.path, self.file, self.dialect = path, file, dialect
        self.size = file.seek(0, os.SEEK_END)
        first = next(self._all_lines(), "")
        self.skipped = 1 if first.lower().startswith(DIRECTIVE) else 0
        given = first.rstrip("\r\n")[len(DIRECTIVE) :]
        self.separator = given if self.skipped and len(given) == 1 else ""
        header = next(filter(str.strip, self.lines()), "")
        if dialect.delimiter != "auto" or not self.separator:
            self.separator = dialect.separator(header)
        self.names = self._names()
        self.ragged = RaggedRows(path, len(self.names), self.separator)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows below the header, block by block, or raise DataError.

        What polars reads until it may be wrong is what the csv module does, which reads on.
        """
        read = 0
        try:
            for block in _regular_blocks(self):
                yield block
                read += len(block)
        except IrregularError:
            pass
        else:
            if read:
                return
        for block in _row_blocks(self, read):
            yield block
            read += len(block)
        if not read and not self.ragged.count:
            raise DataError(
                f"{self.path}: has a header and no rows", f"its columns are {listed(self.names)}"
            )

    def share(self) -> float:
        """Return which part of the file has been read, 0 to 1."""
        return self.file.tell() / self.size

    def _names(self) -> list[str]:
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


def _regular_blocks(reader: CsvReader) -> Iterator[Block]:
    """Yield the rows as polars reads them; raise IrregularError where that may be something else.

    Yields nothing for a file that is not read in this way.
    """
    names, dialect = reader.names, reader.dialect
    if len(names) == 1:  # an empty cell is a blank line
        return
    reader.start()
    line, number = reader.skipped, 1
    is_header = dialect.names_first_row
    for frame, ends in frames_of(reader.file, names, reader.separator, dialect.quote):
        below = frame.slice(1) if is_header else frame
        lines = ends[is_header:] + line
        line, is_header = line + int(ends[-1]), False
        refuse_swallowed_rows(reader.path, below, lines, reader.separator)
        numbers = np.arange(number, number + below.height)
        yield Block(below, lines, numbers, reader.share())
        number += below.height


def _row_blocks(reader: CsvReader, read: int) -> Iterator[Block]:
    """Yield the rows that the csv module reads one by one, but for the first `read` ones."""
    import polars as pl

    names, rows, number = reader.names, reader.rows(), read
    for _ in islice(rows, read + reader.dialect.names_first_row):
        pass
    while chunk := list(islice(rows, ROWS)):
        kept = []
        for line, cells in chunk:
            number += 1
            if len(cells) != len(names):
                reader.ragged.note(number, line, cells)
            else:
                kept.append((number, line, [cell.strip() for cell in cells]))
        if kept:
            numbers, lines = (np.array(each) for each in list(zip(*kept, strict=True))[:2])
            columns = zip(*(cells for _, _, cells in kept), strict=True)
            frame = pl.DataFrame(dict(zip(names, columns, strict=True)))
            refuse_swallowed_rows(reader.path, frame, lines, reader.separator)
            yield Block(frame, lines, numbers, reader.share())
