"""Reading the table in a file of any kind."""

from pathlib import Path

from bptrain.data.data_file import refuse_unless_file
from bptrain.data.tables.csv_table import Delimiter, read_csv
from bptrain.data.tables.parquet_table import SUFFIXES, read_parquet
from bptrain.data.tables.table import Table
from bptrain.errors import DataError


def read_table(path: Path, delimiter: Delimiter = "auto") -> Table:
    """Return the table in a file, or raise DataError naming what is wrong and where."""
    refuse_unless_file(path, "data.path names a CSV or Parquet file")
    try:
        if path.suffix.lower() in SUFFIXES:
            return read_parquet(path)
        return read_csv(path, delimiter)
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error
