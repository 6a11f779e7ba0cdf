"""Reading the table in a file of any kind."""

from collections.abc import Collection
from pathlib import Path

from bptrain.data.data_file import refuse_unless_file
from bptrain.data.file_tree import FileKind
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.csv_dialect import SUFFIXES as CSV
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.csv_table import read_csv
from bptrain.data.tables.parquet_table import SUFFIXES, read_parquet
from bptrain.data.tables.table import Table
from bptrain.errors import DataError

TABLES = (*CSV, *SUFFIXES)  # endings of the names of tables
TABLE = FileKind("table", TABLES)


def read_table(
    path: Path,
    dialect: Dialect | None = None,
    form: CellFormat | None = None,
    texts: Collection[str] | None = None,
    most_bytes: int | None = None,
) -> Table:
    """Return the table in a file, or raise DataError naming what is wrong and where.

    texts       the columns that stay text where they hold numbers alone; None for all
    most_bytes  to read only the rows at the beginning that take so many; None for all rows
    """
    refuse_unless_file(path, "data.path names a CSV or Parquet file")
    try:
        if path.suffix.lower() in SUFFIXES:
            return read_parquet(path, form, texts, most_bytes)
        return read_csv(path, dialect, form, texts, most_bytes)
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error
