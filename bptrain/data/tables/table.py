"""A table of text cells, and what holds for every file that one is read from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bptrain.errors import DataError, shorten

if TYPE_CHECKING:
    import polars as pl  # imported where a table is read: it takes a quarter of a second

MOST_COLUMNS = 10_000
MOST_CELLS = 2 * 10**8  # polars takes at least 16 bytes for each: 3 GB
MESSAGE_LENGTH = 40  # characters of a cell or a name in a message


@dataclass(frozen=True)
class Table:
    """Columns of text without spaces around it, by name.

    rows   the number of each row in the file, from 1
    lines  the line where each row of the file ends; None for Parquet
    """

    path: Path
    frame: "pl.DataFrame"
    rows: NDArray[np.int64]
    lines: NDArray[np.int64] | None = None

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return self.frame.columns

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def place(self, row: int) -> str:
        """Return the position in the file of a row, counted from 0."""
        number = self.rows[row]
        line = "" if self.lines is None else f" (line {self.lines[number - 1]:,})"
        return f"row {number:,}{line}"

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Table":
        """Return the table of these rows, counted from 0."""
        return Table(self.path, self.frame[rows], self.rows[rows], self.lines)

    def cell_bytes(self, names: Sequence[str]) -> bytes:
        """Return the cells of some columns as bytes, each of them quoted."""
        content = BytesIO()
        self.frame.select(names).write_csv(content, include_header=False, quote_style="always")
        return content.getvalue()

    def column(self, name: str, key: str) -> "pl.Series":
        """Return the cells of a column, or raise DataError with the most similar name.

        key  of the config that names the column
        """
        if name in self.names:
            return self.frame[name]
        meant = get_close_matches(name, self.names, n=1)
        raise DataError(
            f"{self.path}: no column {quoted(name)}, which {key} names",
            f"its columns are {listed(self.names)}",
            f"did you mean {quoted(meant[0])}" if meant else "",
        )


def quoted(text: str) -> str:
    """Return a cell or a name as messages show it."""
    return repr(shorten(text, MESSAGE_LENGTH))


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return the first of many names."""
    shown = [quoted(name) for name in names]
    more = f", ... ({len(shown):,} in all)" * (len(shown) > most)
    return ", ".join(shown[:most]) + more


def checked_names(path: Path, header: Sequence[str]) -> list[str]:
    """Return the names of the columns, or raise DataError."""
    names = [name.strip() for name in header]
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read")
    if "" in names:
        hint = "of pandas' to_csv, index=False leaves its own column out"
        raise DataError(f"{path}: column {names.index('') + 1:,} has no name", "", hint)
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
