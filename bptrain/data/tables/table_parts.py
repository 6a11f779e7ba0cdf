"""A table in parts, each a table of some rows: for files that are larger than the memory."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bptrain.data.data_file import refuse_unless_file
from bptrain.data.tables.blocks import Block, evenly
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.collected_columns import CollectedColumns
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.csv_table import open_csv
from bptrain.data.tables.left_out_rows import LeftOutRows
from bptrain.data.tables.parquet_table import SUFFIXES, open_parquet, spelled
from bptrain.data.tables.table import Table
from bptrain.errors import DataError


@dataclass(frozen=True)
class TableFile:
    """A file of a table, and how it is read.

    texts  the columns that stay text where they hold numbers alone
    """

    path: Path
    dialect: Dialect
    form: CellFormat
    texts: Collection[str]

    def parts(self, rows: int, left_out: LeftOutRows) -> Iterator[Table]:
        """Yield the table so many rows at a time, or raise DataError naming what is wrong.

        What was read before is right whatever comes later. Rows with too few cells or too many are
        left out, and noted.
        """
        refuse_unless_file(self.path, "a CSV or Parquet file")
        try:
            is_parquet = self.path.suffix.lower() in SUFFIXES
            yield from (self._of_parquet if is_parquet else self._of_csv)(rows, left_out)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read", str(error)) from error

    def _of_csv(self, rows: int, left_out: LeftOutRows) -> Iterator[Table]:
        with open_csv(self.path, self.dialect) as reader:
            left_out.note_ragged(reader.ragged)
            for block in evenly(reader.blocks(), rows):
                left_out.note_read(block)
                yield self._table(block, reader.names, self.form)

    def _of_parquet(self, rows: int, left_out: LeftOutRows) -> Iterator[Table]:
        with open_parquet(self.path) as reader:
            for block in evenly(reader.blocks(reader.rows, are_kept=False), rows):
                left_out.note_read(block)
                yield self._table(block, reader.names, spelled(self.form))

    def _table(self, block: Block, names: list[str], form: CellFormat) -> Table:
        collected = CollectedColumns(self.path, names, form, self.texts)
        collected.add(block.frame, block.lines)
        return replace(collected.table(), numbers=block.numbers)
