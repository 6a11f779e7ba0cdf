"""A table of cells, and what holds for every file that one is read from."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bptrain.data.tables.cell_format import CellFormat
from bptrain.errors import DataError, shorten

if TYPE_CHECKING:
    import polars as pl  # imported where a table is read: it takes a quarter of a second

MOST_COLUMNS = 10_000
MOST_CELLS = 2 * 10**8  # polars takes at least 8 bytes for each: 1.6 GB
NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?")
MESSAGE_LENGTH = 40  # characters of a cell or a name in a message


@dataclass(frozen=True)
class Table:
    """Columns by name, each of text without spaces around it, or of numbers.

    frame    the rows that were read; a number that is missing is null
    format   how the cells spell numbers, and which are missing
    chosen   the rows that are used, counted from 0; None for all
    lines    the line where each row of the frame ends; None for Parquet
    numbers  of the rows of the frame in the file, from 1; None if it holds all of the file's
    indexes  columns of the file that number its rows, and were left out
    is_part  whether these are the first rows of a file that has more
    """

    path: Path
    frame: "pl.DataFrame"
    format: CellFormat = field(default_factory=CellFormat)
    chosen: NDArray[np.int64] | None = None
    lines: NDArray[np.int64] | None = None
    numbers: NDArray[np.int64] | None = None
    indexes: tuple[str, ...] = ()
    is_part: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.frame.columns

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.frame.height if self.chosen is None else len(self.chosen)

    def number(self, row: int) -> int:
        """Return the number in the file, from 1, of a row that is counted from 0."""
        at = self._place_in_frame(row)
        return at + 1 if self.numbers is None else int(self.numbers[at])

    def place(self, row: int) -> str:
        """Return the position in the file of a row, counted from 0."""
        line = ""
        if self.lines is not None:
            line = f" (line {self.lines[self._place_in_frame(row)]:,})"
        return f"row {self.number(row):,}{line}"

    def _place_in_frame(self, row: int) -> int:
        return int(row if self.chosen is None else self.chosen[row])

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Table":
        """Return the table of these rows, counted from 0; the cells are shared."""
        rows = np.asarray(rows, np.int64)
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])

    def cell_bytes(self, names: Sequence[str]) -> Iterator[bytes | memoryview]:
        """Yield the cells of each column as bytes: numbers by value, texts with their lengths."""
        import polars as pl

        for name in names:
            cells = self.column(name, "the run")
            if cells.dtype == pl.String:
                yield np.asarray(cells.str.len_bytes().to_numpy(), np.uint32).tobytes()
                yield cells.str.join("").item().encode()
            else:
                yield np.ascontiguousarray(cells.to_numpy()).view(np.uint8).data

    def column(self, name: str, key: str) -> "pl.Series":
        """Return the cells of a column, or raise DataError with the most similar name.

        key  of the config that names the column
        """
        if name in self.names:
            return self._chosen_of(self.frame[name])
        meant, doubt = get_close_matches(name, self.names, n=1), doubt_of_names(self.names)
        is_meant = meant and (len(self.names) > 1 or not doubt)
        raise DataError(
            f"{self.path}: no column {quoted(name)}, which {key} names",
            f"its columns are {listed(self.names)}",
            f"did you mean {quoted(meant[0])}" if is_meant else doubt,
        )

    def _chosen_of(self, cells: "pl.Series") -> "pl.Series":
        """Return the cells of the rows that are used."""
        if self.chosen is None:
            return cells
        if cells.dtype.is_float() and not cells.has_nulls():
            import polars as pl

            # in half the time of gather, which looks at nulls and starts a query
            return pl.Series(cells.name, cells.to_numpy()[self.chosen])
        return cells.gather(self.chosen)


def quoted(text: str) -> str:
    """Return a cell or a name as messages show it."""
    return repr(shorten(text, MESSAGE_LENGTH))


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return the first of many names."""
    shown = [quoted(name) for name in names]
    more = f", ... ({len(shown):,} in all)" * (len(shown) > most)
    return ", ".join(shown[:most]) + more


def doubt_of_names(names: Sequence[str]) -> str:
    """Return why what was taken for the names of columns may be none, and what to do; or ""."""
    first = names[0]
    if first.startswith("#"):
        return "remove the lines above the table, if the first one is a comment"
    if len(names) == 1 and any(each in first for each in ",;\t|"):
        return "remove the quotation marks around whole lines, if that is one"
    if numbers := [name for name in names if NUMBER.fullmatch(name)]:
        return (
            f"data.header: [names], if the first row, which holds {quoted(numbers[0])}, is no "
            "header"
        )
    return ""


def checked_names(path: Path, header: Sequence[str]) -> list[str]:
    """Return the names of the columns, or raise DataError; "" for a first one without a name.

    A first column without a name is the row numbers that pandas and R write.
    """
    names = [name.strip() for name in header]
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read")
    if "" in names[1:] or names == [""]:
        nameless = names.index("", min(1, len(names) - 1)) + 1
        raise DataError(
            f"{path}: column {nameless:,} has no name",
            "a separator too many at the end of the first row" * (nameless == len(names)),
            "name it in the first row, or all columns in data.header",
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: two columns have the same name: {listed(repeated)}")
    return names


def refuse_if_huge(path: Path, rows: int, columns: int) -> None:
    """Raise DataError for more cells than are read."""
    if rows * columns > MOST_CELLS:
        raise DataError(
            f"{path}: more than {MOST_CELLS:,} cells",
            f"{rows:,} rows of {columns:,} columns",
            "take a part of the rows or columns",
        )
