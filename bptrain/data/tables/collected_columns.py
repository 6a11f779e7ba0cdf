"""The columns of a file, collected block by block: numbers in 8 bytes, where they surely are some.

A text takes 16 bytes or more. A column that is used as text (the target, categories, dates) stays
text; any other is numeric as soon as one of its cells is a number, so nothing is lost.
"""

from array import array
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.table import Table, refuse_if_huge

if TYPE_CHECKING:
    import polars as pl


class CollectedColumns:
    """The columns of a file, to which blocks of rows are added.

    texts  the columns that stay text; None for all
    """

    def __init__(
        self, path: Path, names: Sequence[str], form: CellFormat, texts: Collection[str] | None
    ) -> None:
        self.path, self.names, self.form = path, names, form
        self.texts = set(names if texts is None else texts)
        self.parts: dict[str, list[pl.Series]] = {name: [] for name in names}
        self.lines, self.rows = array("q"), 0

    def add(self, frame: "pl.DataFrame", lines: "Sequence[int] | NDArray[np.int64]" = ()) -> None:
        """Add rows of text, and the line where each of them ends."""
        self.rows += frame.height
        refuse_if_huge(self.path, self.rows, len(self.names))
        for name in self.names:
            cells = frame[name]
            self.parts[name].append(cells if name in self.texts else self._compact(cells))
        self.lines.frombytes(np.asarray(lines, np.int64).tobytes())

    def _compact(self, cells: "pl.Series") -> "pl.Series":
        """Return the cells as numbers if all are, or are missing."""
        numbers, wrong = self.form.numbers(cells)
        return cells if wrong.any() else numbers

    def table(self) -> Table:
        """Return the table of what was added, without a column of row numbers."""
        import polars as pl

        columns = {name: _joined(self.parts.pop(name)) for name in self.names}
        indexes = tuple(name for name in self.names if name == "" or name.startswith(PANDAS_INDEX))
        frame = pl.DataFrame({name: columns[name] for name in columns if name not in indexes})
        lines = np.frombuffer(self.lines, np.int64) if self.lines else None
        return Table(self.path, frame, self.form, lines=lines, indexes=indexes)


PANDAS_INDEX = "__index_level_"


def _joined(parts: "Sequence[pl.Series]") -> "pl.Series":
    """Return the parts of a column, text where any of them is."""
    import polars as pl

    if len({part.dtype for part in parts}) > 1:
        parts = [part.cast(pl.String).fill_null("") for part in parts]
    # in one piece, or each later look at a column as an array would join them again
    return pl.concat(parts, rechunk=True)
