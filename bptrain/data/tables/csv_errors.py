"""What is wrong with a CSV file, named for what it is, with the key that helps."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bptrain.data.encodings import HEAD, is_utf16, likely_encoding
from bptrain.data.tables.table import listed
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MANY = 10  # places that a message lists
COMMENTS = ("#", "%", "//")  # begin lines that are no rows


class NumericHeaderError(DataError):
    """A first row of numbers, which may be names of columns or not."""


class QuotingError(DataError):
    """Quotation marks that are not around cells."""


def not_text(
    path: Path, content: bytes, at: int, line: int, encoding: str = "utf-8", before: int = 0
) -> DataError:
    """Return the error for the byte `at` of a file's content, which is no text.

    before  bytes of the file in front of the content
    """
    place = f"byte {before + at:,}, in line {line:,}, is "
    is_nul = content[at : at + 1] == b"\0"
    if encoding != "utf-8":
        why = place + f"0x{content[at]:02x}" if at < len(content) else ""
        return DataError(f"{path}: not {encoding} text", why, "another data.encoding")
    if before == 0 and is_utf16(content[:HEAD]):
        hint = "data.encoding: utf-16, or save the table as CSV in UTF-8"
        return DataError(f"{path}: is UTF-16, no UTF-8 text", "", hint)
    if is_nul:
        return DataError(f"{path}: no text", place + "NUL", "save the table as CSV in UTF-8")
    return DataError(
        f"{path}: not UTF-8 text",
        place + f"0x{content[at]:02x}",
        f"data.encoding: {likely_encoding(content)}, which is likely its encoding",
    )


def numeric_header(path: Path, first: Sequence[str]) -> NumericHeaderError:
    """Return the error for a first row of numbers."""
    return NumericHeaderError(
        f"{path}: no header",
        f"the first row holds numbers: {listed(first)}",
        "data.header: false, if there is none; [names] to name the columns; true, if these are "
        "their names",
    )


def refuse_comment(path: Path, header: str, names: int) -> None:
    """Raise DataError for a first line that is a comment, and not the names of columns."""
    if header.startswith(COMMENTS) and names == 1:
        raise DataError(
            f"{path}: the first line is a comment, not the names of the columns",
            f"it is {listed([header.strip()])}",
            "remove the lines above the table",
        )


def unquotable(path: Path, line: int, error: csv.Error, quoting: str) -> DataError:
    """Return the error for quotation marks that are not around a cell."""
    if "new-line character" in str(error):
        return DataError(
            f"{path}: line {line:,}: a carriage return (CR) without a line feed",
            "lines end in CR alone, or a cell without quotation marks around it holds one",
            "save the file with lines that end in LF or CRLF",
        )
    mark = {"double": '"', "single": "'"}.get(quoting, "")
    if "field limit" in str(error) or not mark:
        return DataError(
            f"{path}: line {line:,}: {error}", "a cell without an end, or a damaged file"
        )
    return QuotingError(
        f"{path}: line {line:,}: {error}",
        "a quotation mark that is never closed, or text after one",
        f"data.quoting: none, if {mark} is a character like others in this file",
    )


def refuse_swallowed_rows(
    path: Path, frame: "pl.DataFrame", lines: NDArray[np.int64], separator: str
) -> None:
    """Raise DataError for a cell that holds whole rows: a stray quotation mark opened it.

    Each line within such a cell has as many separators as a row. With two columns and a comma a
    text of a few lines may look like that, with more it does not; and no text that someone wrote
    has both a tab and a line break.
    """
    each_row = frame.width - 1
    if len(lines) and int(lines[-1]) - int(lines[0]) == len(lines) - 1 and not _begins_tall(frame):
        return  # each row ends a line after the one before: none has a line break in it
    for name in frame.columns:
        cells = frame[name]
        tall = cells.str.contains("\n", literal=True).arg_true()
        for row, cell in zip(tall, cells.gather(tall), strict=True):
            if holds_rows(cell, separator, each_row):
                raise swallowed_rows(path, cell, int(lines[row]))


def _begins_tall(frame: "pl.DataFrame") -> bool:
    """Tell whether a cell of the first row has a line break, which its line does not show."""
    return any("\n" in cell for cell in frame.row(0) if cell is not None)


def swallowed_rows(path: Path | str, cell: str, end: int) -> QuotingError:
    """Return the error for a cell that holds rows, and whose row ends in line `end`."""
    return QuotingError(
        f"{path}: one cell spans lines {end - cell.count(chr(10)):,} to {end:,}, "
        "with the cells of other rows in it",
        "a quotation mark in the first of them opens it, one in the last closes it",
        "data.quoting: none, if quotation marks are characters like others in this file, or "
        "correct the line",
    )


def holds_rows(cell: str, separator: str, each_row: int) -> bool:
    """Tell whether a cell of several lines holds what other rows consist of."""
    if separator == "\t":
        return separator in cell
    inner = cell.split("\n")[1:-1]
    whole = [line.count(separator) == each_row for line in inner]
    return len(whole) >= (1 if each_row > 1 else 3) and all(whole)


class RaggedRows:
    """The rows of a file that have more or fewer cells than it has columns."""

    def __init__(self, path: Path, columns: int, separator: str) -> None:
        self.path, self.columns, self.separator = path, columns, separator
        self.count, self.trailing, self.comments = 0, 0, 0
        self.first: list[tuple[int, int, int]] = []  # number, line, cells

    def note(self, number: int, line: int, cells: Sequence[str]) -> None:
        """Note a row by its number and line."""
        self.count += 1
        self.trailing += len(cells) == self.columns + 1 and not cells[-1].strip()
        self.comments += cells[0].lstrip().startswith(COMMENTS)
        if len(self.first) < MANY:
            self.first.append((number, line, len(cells)))

    def refuse(self) -> None:
        """Raise DataError if there are any."""
        if self.count:
            raise self.error()

    def errors(self) -> Iterator[DataError]:
        """Yield the error that names them, if there are any."""
        if self.count:
            yield self.error()

    def error(self) -> DataError:
        """Return the error for all of them."""
        named = f"the header names {self.columns:,} columns, separated by {self.separator!r}"
        if self.trailing == self.count:
            return DataError(
                f"{self.path}: {self._rows()} end in a separator too many",
                f"after it stands an empty cell; {named}",
                f"remove the {self.separator!r} at the end of the rows, or add one to the header "
                "with a name",
            )
        if self.comments == self.count:
            rows = self._rows() if self.count > 1 else f"line {self.first[0][1]:,}"
            verb = "begin" if self.count > 1 else "begins"
            return DataError(
                f"{self.path}: {rows} {verb} with a sign that marks comments",
                named,
                "remove the comments",
            )
        hint = "put quotes around text with a separator in it; or set data.delimiter"
        if self.columns == 1 and self.count > 1:
            hint = (
                "remove the lines above the table, if the first one is a title and not the name of "
                f"a column; {hint}"
            )
        if self.count == 1:
            number, line, cells = self.first[0]
            what = f"{self.path}: row {number:,} (line {line:,}) has {cells:,} cells"
            return DataError(what, named, hint)
        places = ", ".join(f"line {line:,} has {cells:,}" for _, line, cells in self.first)
        more = f", and {self.count - MANY:,} more" * (self.count > MANY)
        return DataError(
            f"{self.path}: {self._rows()} have not {self.columns:,} cells",
            f"{places}{more}; {named}",
            hint,
        )

    def _rows(self) -> str:
        lines = ", ".join(f"{line:,}" for _, line, _ in self.first[:3])
        dots = ", ..." * (self.count > 3)
        return f"{self.count:,} rows (line {lines}{dots})"
