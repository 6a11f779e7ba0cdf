"""CSV and TSV tables: read by polars, or row by row where a file is irregular.

polars reads a million rows in a second, but it also reads broken files: it fills short rows with
empty cells and takes any byte for text. What it read is therefore used only if the file's bytes
prove it right (`_read_regular`). Other files (blank lines, a space before a quotation mark, rows of
different lengths) are read by Python's csv module in strict mode, some ten times slower: it
accepts the first two, and finds the row to name in an error.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bptrain.data.tables.table import MOST_CELLS, Table, checked_names, listed, refuse_if_huge
from bptrain.data.text.text_file import refuse_what_does_not_fit
from bptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Delimiter = Literal["auto", ",", ";", "|", "tab"]

CHARACTERS = {"tab": "\t"}
CANDIDATES = (",", ";", "\t", "|")
LONGEST_LINE = 2**22  # bytes
LONGEST_CELL = 131_072  # characters, the csv module's own limit; bytes where polars reads
MEMORY = 4  # bytes held at most for each byte of a file, besides the cells that MOST_CELLS limits
SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))  # all that str.strip removes


def read_csv(path: Path, delimiter: Delimiter = "auto") -> Table:
    """Return the table in a file, or raise DataError naming what is wrong and where."""
    refuse_what_does_not_fit(path, path.stat().st_size * MEMORY)
    content = path.read_bytes()
    first = next(filter(str.strip, _lines(path, content)), "")
    separator = _separator(first) if delimiter == "auto" else CHARACTERS.get(delimiter, delimiter)
    rows = _rows(path, content, separator)
    _, header = next(rows, (0, []))
    if not header:
        raise DataError(f"{path}: is empty", "", "the first row names the columns")
    names = _header(path, header)
    table = _read_regular(path, content, separator, names)
    return _read_rows(path, rows, separator, names) if table is None else table


def _lines(path: Path, content: bytes) -> Iterator[str]:
    """Yield the lines of a file as text, or raise DataError with the byte that is none."""
    start, file = 0, BytesIO(content)
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


def _separator(header: str) -> str:
    """Return the character that splits a header into the most names, a comma if none does."""

    def names(separator: str) -> int:
        try:
            return len(next(csv.reader([header], delimiter=separator)))
        except csv.Error:
            return 0  # which is reported when the header is read

    return max(CANDIDATES, key=names)


def _rows(path: Path, content: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line where it ends."""
    reader = csv.reader(
        _lines(path, content), delimiter=separator, strict=True, skipinitialspace=True
    )
    try:
        for cells in reader:
            if len(cells) > 1 or "".join(cells).strip():
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num:,}: {error}",
            "a quotation mark that is never closed, text after one, or lines that end in CR alone",
        ) from error


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    """Return the names in the first row of a file, or raise DataError if it holds numbers."""
    if all(map(_is_number, cells)):
        raise DataError(
            f"{path}: no header",
            f"the first row holds numbers: {listed(cells)}",
            "name the columns",
        )
    return checked_names(path, cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own 1_000 is no number elsewhere


def _read_rows(
    path: Path, rows: Iterator[tuple[int, list[str]]], separator: str, names: Sequence[str]
) -> Table:
    """Return the table of the rows below the header, or raise DataError."""
    import polars as pl

    read, lines = [], array("q")
    for line, cells in rows:
        lines.append(line)
        if len(cells) != len(names):
            raise DataError(
                f"{path}: row {len(lines):,} (line {line:,}) has {len(cells):,} cells",
                f"the header names {len(names):,} columns, separated by {separator!r}",
                "put quotes around text with a separator in it; or set data.delimiter",
            )
        read.append(cells)
        refuse_if_huge(path, len(read), len(names))
    if not read:
        raise DataError(f"{path}: has a header and no rows", f"its columns are {listed(names)}")
    columns = zip(names, zip(*read, strict=True), strict=True)
    frame = pl.DataFrame({name: [*map(str.strip, cells)] for name, cells in columns})
    return Table(path, frame, np.arange(1, len(read) + 1), np.array(lines))


def _read_regular(path: Path, content: bytes, separator: str, names: Sequence[str]) -> Table | None:
    """Return the table in a file as polars reads it, or None if that may not be what it holds."""
    import polars as pl

    # with a line end: at the end of a file without one polars drops an empty cell too many
    content = content.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") + b"\n"
    if (
        len(names) == 1  # an empty cell is a blank line
        or content.count(b"\n") * len(names) > MOST_CELLS
        or b"\0" in content
        or content.count(b"\r") != content.count(b"\r\n")
        or not _quotes_are_regular(content, separator)
    ):
        return None
    try:
        frame = pl.read_csv(
            content,
            has_header=False,
            schema=dict.fromkeys(names, pl.String),
            separator=separator,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError:
        return None
    if not _is_complete(frame, content, separator) or _has_long_cells(frame):
        return None
    newlines = frame.select(pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True)))
    lines = (newlines.to_series().cast(int) + 1).cum_sum().to_numpy()
    cells = frame.slice(1).select(pl.all().str.strip_chars(SPACE))
    return Table(path, cells, np.arange(1, len(cells) + 1), lines[1:]) if len(cells) else None


def _quotes_are_regular(content: bytes, separator: str) -> bool:
    """Tell whether quotes open right after a separator or line end and close right before one.

    Every reader then splits the file into the same cells. A doubled quote inside of quotes, which
    means the character itself, counts as one that closes and one that opens right after it.
    """
    if b'"' not in content:
        return True
    characters = np.frombuffer(content, np.uint8)  # its last one, a line end, precedes the first
    marks = np.flatnonzero(characters == ord('"'))
    before, after = characters[marks[::2] - 1], characters[marks[1::2] + 1]
    ends = [ord(each) for each in (separator, "\n", '"')]
    return bool(
        len(marks) % 2 == 0
        and np.isin(before, ends).all()
        and np.isin(after, [*ends, ord("\r")]).all()
    )


def _is_complete(frame: "pl.DataFrame", content: bytes, separator: str) -> bool:
    """Tell whether no row was too short: the file then has the separators that its cells need.

    Those inside of quotes are still in the cells. A row that is too long is an error of polars.
    """
    import polars as pl

    quoted = pl.sum_horizontal(pl.all().str.count_matches(separator, literal=True).sum())
    separators = content.count(separator.encode()) - int(frame.select(quoted).item())
    return separators == len(frame) * (frame.width - 1)


def _has_long_cells(frame: "pl.DataFrame") -> bool:
    """Tell whether a cell or a row may be longer than the limits."""
    import polars as pl

    sizes = pl.all().str.len_bytes()
    cell = frame.select(pl.max_horizontal(sizes.max())).item()
    row = frame.select(pl.sum_horizontal(sizes.cast(int)).max()).item()
    return bool(cell > LONGEST_CELL or row + 3 * frame.width > LONGEST_LINE)
