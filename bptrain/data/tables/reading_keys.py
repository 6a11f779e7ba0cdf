"""The config keys by which a table is read from its file."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bptrain.data.encodings import Encoding
from bptrain.data.splits import InMemoryConfig
from bptrain.data.tables.cell_format import USUAL_MISSING, CellFormat
from bptrain.data.tables.csv_dialect import Delimiter, Dialect, Quoting
from bptrain.data.tables.table import Table
from bptrain.data.tables.table_file import read_table
from bptrain.data.tables.table_parts import TableFile

Name = Annotated[str, Field(min_length=1)]
Marker = str | int | float


class CutIntoCellsConfig(InMemoryConfig):
    """The keys that say how a file's text becomes rows and cells."""

    delimiter: Delimiter = Field(
        default="auto",
        description="character between the cells of a CSV file. auto takes the one of , ; | and "
        "tab that splits the header into the most columns, or the one that a first line such as "
        "sep=; names",
    )
    encoding: Encoding = Field(
        default="utf-8",
        description="encoding of a CSV file. Excel writes cp1252 in Western Europe, and utf-16 as "
        "Unicode text; where the file is not UTF-8, the error names the likely one",
    )
    quoting: Quoting = Field(
        default="double",
        description='character around cells that hold the delimiter or a line break: double ("), '
        "single ('), or none, where quotation marks are characters like others, as in many .tsv "
        "files",
    )
    header: bool | list[Name] | None = Field(
        default=None,
        description="null: the first row names the columns, and may not hold numbers alone. true: "
        "it names them, whatever it holds, such as years. false: there is no such row, and the "
        "columns are column_1, column_2, ... A list gives the names of a file without such a row",
    )

    @property
    def dialect(self) -> Dialect:
        """How the file is cut into cells."""
        return Dialect(self.delimiter, self.encoding, self.quoting, self.header)


class TableReadingConfig(CutIntoCellsConfig):
    """The keys that say how a file's text becomes rows, cells, numbers and missing values."""

    decimal: str = Field(
        default=".",
        pattern="^[.,]$",
        description="decimal point of the numbers in a CSV file: a point or a comma",
    )
    thousands: str = Field(
        default="",
        pattern="^[.,' ]?$",
        description="character between the thousands of numbers such as 1,234,567: a comma, a "
        'point, an apostrophe or a space. By default ("") numbers have none',
    )
    missing_values: list[Marker] | None = Field(
        default=None,
        description="cells without a value besides the empty one, in any case, such as "
        "[unknown, -999]; numbers are compared by value. The list replaces the usual ones that "
        "null stands for: NA, N/A, NaN, null, none, nil, ?, -, --, #N/A, <NA> and their like",
    )

    @property
    def cell_format(self) -> CellFormat:
        """How its cells spell numbers and missing values."""
        if self.missing_values is None:
            return CellFormat(self.decimal, self.thousands, USUAL_MISSING)
        markers = ("", *(str(each).strip().lower() for each in self.missing_values))
        return CellFormat(self.decimal, self.thousands, markers)

    def read(self, path: Path, texts: Collection[str]) -> Table:
        """Return the table in a file; `texts` are the columns that stay text."""
        return read_table(path, self.dialect, self.cell_format, texts)

    def file(self, path: Path, texts: Collection[str]) -> TableFile:
        """Return a file to be read in parts; `texts` are the columns that stay text."""
        return TableFile(path, self.dialect, self.cell_format, texts)
