"""Parquet tables, read by pyarrow.

Cells become the text that a CSV file of the same table would hold, null the empty text. The sizes
that a file declares are compared with the limits before it is unpacked, and texts stay in their
dictionary: a few bytes can encode any number of equal cells, or one of gigabytes.

pyarrow and not polars, which CSV files are read by: polars 2.1 ignores the checksums of pages,
crashes (SIGSEGV) on a schema nested 5,000 deep, and unpacks 5 kB of one repeated text for minutes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bptrain.data.tables.blocks import Block
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.collected_columns import CollectedColumns
from bptrain.data.tables.regular_blocks import LONGEST_CELL, SPACE
from bptrain.data.tables.table import Table, checked_names, listed, quoted, refuse_if_huge
from bptrain.data.text.text_file import refuse_what_does_not_fit
from bptrain.errors import DataError, UsageError, shorten

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = (".parquet", ".pq")
BATCH_BYTES = 2**24  # of the rows that are unpacked at once
PAGE_BYTES = 2**20  # of a column that are read from the disk at once, not a whole row group
MEMORY = 36  # bytes held at most for each cell, besides the texts
CELL_BYTES = 16  # of a cell in them; a text is a place in its dictionary
MOST_TEXT = 2**32  # bytes of texts held at a time, one that is repeated in a batch counted once
AT_MOST = f"a cell is at most {LONGEST_CELL:,} bytes long"
NO_LINES = np.zeros(0, np.int64)
STRINGS = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")


def read_parquet(
    path: Path,
    form: CellFormat | None = None,
    texts: Collection[str] | None = None,
    most_bytes: int | None = None,
) -> Table:
    """Return the table in a file.

    texts       the columns that stay text where they hold numbers alone; None for all
    most_bytes  of cells, 16 each, that the rows which are read have; None for all rows

    Raises DataError for a file that is damaged or no table, UsageError without pyarrow.
    """
    with open_parquet(path) as reader:
        rows = reader.rows_in(most_bytes)
        refuse_if_huge(path, rows, max(1, len(reader.names)))
        refuse_what_does_not_fit(path, rows * len(reader.names) * MEMORY)
        collected = CollectedColumns(path, reader.names, spelled(form or CellFormat()), texts)
        for block in reader.blocks(rows):
            collected.add(block.frame)
    return replace(collected.table(), is_part=rows < reader.rows)


def spelled(form: CellFormat) -> CellFormat:
    """Return how the cells of a Parquet file are spelled: with a point in their numbers."""
    return replace(form, decimal=".", thousands="")


@contextmanager
def open_parquet(path: Path) -> "Iterator[ParquetReader]":
    """Open a file whose rows are read a batch at a time.

    Raises, also while it is read, DataError for a file that is damaged or no table, and UsageError
    without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import compute, parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet files need the package pyarrow",
            "it comes with bptrain's extra 'parquet'",
            "pip install pyarrow, or save the table as CSV",
        ) from error
    try:
        yield ParquetReader(path, pyarrow, parquet, compute)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's error: pyarrow's own, for broken files, have no number
        hint = "write it anew; a text file's name ends in .csv"
        raise DataError(f"{path}: no valid Parquet file", shorten(str(error)), hint) from error


class ParquetReader:
    """A file that is read a batch of rows at a time, by the modules of pyarrow.

    Without stubs their types are not known here.

    rows, names  that it declares: their number, and the columns
    """

    def __init__(self, path: Path, pyarrow: Any, parquet: Any, compute: Any) -> None:
        self.path, self.pyarrow, self.types = path, pyarrow, pyarrow.types
        self.parquet, self.compute = parquet, compute
        self.text_bytes = 0
        with self.parquet.ParquetFile(self.path) as file:
            self.rows, self.schema = file.metadata.num_rows, file.schema_arrow
        self.names = checked_names(self.path, self.schema.names)
        for field in self.schema:
            self._refuse_what_is_no_cell(field.name, field.type)

    def rows_in(self, most_bytes: int | None) -> int:
        """Return how many rows of the file have so many bytes of cells; None for all."""
        if most_bytes is None:
            return int(self.rows)
        return min(int(self.rows), self._rows_of(most_bytes))

    def blocks(self, rows: int, are_kept: bool = True) -> Iterator[Block]:
        """Yield the rows of the batches that hold the first so many, or raise DataError.

        are_kept  whether the texts of all batches are held at a time, and counted together
        """
        import polars as pl

        read = 0
        dictionaries = [field.name for field in self.schema if self._is_text(field.type)]
        with self.parquet.ParquetFile(
            self.path,
            read_dictionary=dictionaries,
            page_checksum_verification=True,
            buffer_size=PAGE_BYTES,
        ) as file:
            for batch in file.iter_batches(max(1, min(rows, self._rows_of(BATCH_BYTES)))):
                if rows < self.rows and read >= rows:
                    break
                self.text_bytes *= are_kept
                columns = zip(self.names, batch.columns, strict=True)
                cells = pl.DataFrame(
                    {each: self._cells(each, array, read) for each, array in columns}
                )
                numbers = np.arange(read + 1, read + 1 + batch.num_rows)
                read += batch.num_rows
                cells = cells.select(pl.all().str.strip_chars(SPACE))
                yield Block(cells, NO_LINES, numbers, min(1.0, read / max(1, self.rows)))
        if read != self.rows and rows == self.rows:
            raise ValueError(f"its footer declares {rows:,} rows, it holds {read:,}")
        if not read:
            raise DataError(f"{self.path}: has no rows", f"its columns are {listed(self.names)}")

    def _refuse_what_is_no_cell(self, name: str, type: Any) -> None:
        """Raise DataError for a column whose cells are neither numbers nor texts."""
        column = f"{self.path}: column {quoted(name)}"
        is_extension = isinstance(type, self.pyarrow.BaseExtensionType)
        stored = type.storage_type if is_extension else type
        if self.types.is_nested(stored) or (is_extension and self._is_text(stored)):
            raise DataError(
                f"{column} holds {shorten(str(type), 60)}",
                "a cell is a number, a text, a truth value or a time",
                "give each part a column of its own, or leave the column out of the file",
            )
        if self.types.is_fixed_size_binary(stored) and stored.byte_width > LONGEST_CELL:
            raise DataError(f"{column} has cells of {stored.byte_width:,} bytes", AT_MOST)

    def _is_text(self, type: Any) -> bool:
        """Tell whether cells are of any length, which a file may hold as a dictionary."""
        return any(getattr(self.types, f"is_{kind}")(type) for kind in ("dictionary", *STRINGS))

    def _rows_of(self, most_bytes: int) -> int:
        """Return how many rows have so many bytes of cells, at least one."""
        fixed = self.types.is_fixed_size_binary
        widths = (each.type.byte_width if fixed(each.type) else CELL_BYTES for each in self.schema)
        return max(1, most_bytes // max(1, sum(widths)))

    def _cells(self, name: str, array: Any, start: int) -> "pl.Series":
        """Return a batch's cells of a column, the first of them in row `start`, from 0."""
        import polars as pl

        column = f"{self.path}: column {quoted(name)}"
        if self.types.is_dictionary(array.type):
            return self._texts(column, array, start)
        if self.types.is_fixed_size_binary(array.type):
            return pl.Series(decoded(column, array.to_pylist(), lambda number: start + number))
        if self.types.is_floating(array.type):  # polars writes 1.0, as CSV files do, pyarrow 1
            return pl.Series(array).fill_nan(None).cast(pl.String).fill_null("")
        if self.types.is_timestamp(array.type) and array.type.tz is not None:
            # to name an hour in its own zone takes a table of zones, which a machine may lack
            array = array.cast(self.pyarrow.timestamp(array.type.unit))
        text = array.cast(self.pyarrow.large_string())
        if self.types.is_boolean(array.type):
            text = self.compute.utf8_capitalize(text)
        if self.types.is_temporal(array.type):
            text = self.compute.replace_substring_regex(text, r"\.0+$", "")
        return pl.Series(text, dtype=pl.String).fill_null("")

    def _texts(self, column: str, array: Any, start: int) -> "pl.Series":
        """Return the cells of an array of places in a dictionary, each text decoded once."""
        import polars as pl

        used = array.indices.unique()
        stored = array.dictionary.take(used).cast(self.pyarrow.large_binary())
        sizes = [size or 0 for size in self.compute.binary_length(stored).to_pylist()]
        places = self.compute.index_in(array.indices, used)

        def row_of(number: int) -> int:
            return start + int(self.compute.index(places, number).as_py())

        if (longest := max(sizes, default=0)) > LONGEST_CELL:
            row = row_of(sizes.index(longest))
            raise DataError(f"{column}: a cell of {longest:,} bytes", f"row {row + 1:,}; {AT_MOST}")
        self.text_bytes += sum(sizes)
        if self.text_bytes > MOST_TEXT:
            raise DataError(f"{self.path}: more than {MOST_TEXT:,} bytes of text")
        texts = pl.Series(decoded(column, stored.to_pylist(), row_of), dtype=pl.String)
        return texts.gather(pl.Series(places))


def decoded(column: str, values: Iterable[bytes | None], row_of: Callable[[int], int]) -> list[str]:
    """Return values as text, or raise DataError with the row of the one that is none."""
    texts: list[str] = []
    for value in values:
        try:
            texts.append((value or b"").decode())
        except UnicodeDecodeError as error:
            raise DataError(
                f"{column} is not UTF-8 text",
                f"row {row_of(len(texts)) + 1:,} holds the byte 0x{error.object[error.start]:02x}",
                "leave the column out of the file, or write numbers or text into it",
            ) from error
    return texts
