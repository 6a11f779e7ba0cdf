"""How the text of a CSV file is cut into rows and cells, and where the names of columns are."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bptrain.data.encodings import Encoding
from bptrain.data.tables.csv_errors import numeric_header
from bptrain.errors import DataError

Delimiter = Literal["auto", ",", ";", "|", "tab"]
Quoting = Literal["double", "single", "none"]
Header = bool | Sequence[str] | None

TABULATED = (".tsv", ".tab")
SUFFIXES = (".csv", *TABULATED)  # endings of the names of files of text
CHARACTERS = {"tab": "\t"}
CANDIDATES = (",", ";", "\t", "|")
QUOTES: dict[str, str | None] = {"double": '"', "single": "'", "none": None}


@dataclass(frozen=True)
class Dialect:
    """How a file is cut into cells.

    header  None: the first row names the columns, and may not hold numbers alone; True: it names
            them, whatever it holds; False: there is none, columns are column_1, ...; names: there
            is none, these are the columns'
    """

    delimiter: Delimiter = "auto"
    encoding: Encoding = "utf-8"
    quoting: Quoting = "double"
    header: Header = None

    @property
    def quote(self) -> str | None:
        """The character around cells that hold a separator, if there is one."""
        return QUOTES[self.quoting]

    @property
    def names_first_row(self) -> bool:
        """Whether the first row names the columns."""
        return self.header is None or self.header is True

    def reader(self, lines: Iterable[str], separator: str, skips_spaces: bool = True) -> Any:
        """Return the csv module's strict reader of lines."""
        return csv.reader(
            lines,
            delimiter=separator,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            strict=True,
            skipinitialspace=skips_spaces,
        )

    def separator(self, header: str) -> str:
        """Return the config's separator, or the one that splits a header into the most names.

        A comma if none does.
        """
        if self.delimiter != "auto":
            return CHARACTERS.get(self.delimiter, self.delimiter)

        def names(separator: str) -> int:
            try:
                return len(next(self.reader([header], separator)))
            except (csv.Error, StopIteration):
                return 0  # which is reported when the header is read

        return max(CANDIDATES, key=names)

    def names(self, path: Path, first: Sequence[str]) -> list[str]:
        """Return the names of the columns of a file whose first row is given."""
        if self.header is None and all(map(_is_number, first)):
            raise numeric_header(path, first)
        if self.names_first_row:
            return list(first)
        if self.header is False:
            return [f"column_{number}" for number in range(1, len(first) + 1)]
        assert isinstance(self.header, Sequence)
        if len(self.header) != len(first):
            raise DataError(
                f"{path}: data.header names {len(self.header):,} columns",
                f"the first row has {len(first):,} cells",
                "a name for each column, or another data.delimiter",
            )
        return list(self.header)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own 1_000 is no number elsewhere
