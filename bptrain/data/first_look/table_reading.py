"""How the text of a table is read: each key with what showed it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bptrain.data.file_kinds import encoding_of
from bptrain.data.tables.bad_cells import BadCells, spelling_keys, surely_grouped
from bptrain.data.tables.cell_format import USUAL_MISSING
from bptrain.data.tables.column_fitting import ColumnKeys, Findings
from bptrain.data.tables.csv_errors import NumericHeaderError, QuotingError
from bptrain.data.tables.parquet_table import SUFFIXES as PARQUET
from bptrain.data.tables.reading_keys import TableReadingConfig
from bptrain.data.tables.table import Table, quoted
from bptrain.data.tables.table_file import read_table
from bptrain.errors import DataError

MOST_BYTES = 2**25  # of a file that are read: the first 32 MiB
NOT_UTF8 = "the file is not UTF-8, and this is likely its encoding"
NUMBERS_FIRST = "the first row holds numbers: it is taken for data, and the columns have no names"
STRAY_QUOTE = "quotation marks that are not around whole cells: they are characters like others"


@dataclass(frozen=True)
class Reading:
    """The first rows of a table, and the keys by which they were read, each with its evidence."""

    table: Table
    keys: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def findings(self) -> Findings:
        """What the columns hold, and what is wrong with them."""
        findings = Findings(self.table, ColumnKeys())
        for name in self.table.names:
            findings.kind_of(name)
        return findings

    @property
    def bad_cells(self) -> list[BadCells]:
        """The cells of each column that are not what its other cells are."""
        return [each for each in self.findings.cells if len(each.rows)]

    def with_keys(self, keys: Mapping[str, Any], reasons: Mapping[str, str]) -> "Reading":
        """Return the same rows, read by further keys."""
        together = {**self.keys, **keys}
        table = _read(self.table.path, together)
        return Reading(table, together, {**self.reasons, **reasons})

    def with_target(self, target: str) -> "Reading":
        """Return the same rows, the cells of the target as text: classes are compared exactly."""
        table = _read(self.table.path, self.keys, (target,))
        return Reading(table, self.keys, self.reasons)


def first_rows(path: Path) -> Reading:
    """Return the first rows of a file, read as they seem to be written, or raise DataError."""
    reading = _cut_into_cells(path)
    keys, reasons = _number_keys(reading.bad_cells)
    if not keys:
        return reading
    again = reading.with_keys(keys, reasons)
    wrong, left = (sum(len(cells.rows) for cells in r.bad_cells) for r in (reading, again))
    return again if left < wrong else reading


def _cut_into_cells(path: Path) -> Reading:
    keys: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if path.suffix.lower() not in PARQUET and (encoding := encoding_of(path, MOST_BYTES)):
        keys["encoding"], reasons["encoding"] = encoding, NOT_UTF8
    try:
        return Reading(_read(path, keys), keys, reasons)
    except NumericHeaderError:
        keys["header"], reasons["header"] = False, NUMBERS_FIRST
        return Reading(_read(path, keys), keys, reasons)
    except QuotingError as error:
        keys["quoting"], reasons["quoting"] = "none", STRAY_QUOTE
        try:
            return Reading(_read(path, keys), keys, reasons)
        except DataError:
            raise error from None


def _read(path: Path, keys: Mapping[str, Any], texts: Collection[str] = ()) -> Table:
    config = TableReadingConfig(**keys)
    return read_table(path, config.dialect, config.cell_format, texts, MOST_BYTES)


def _number_keys(found: list[BadCells]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the keys by which more cells are numbers, and the evidence for each."""
    keys: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    markers: list[str] = []
    for each in found:
        column = f"in column {quoted(each.column)}"
        for key, value in (spelled := spelling_keys(each.cells)).items():
            keys.setdefault(key, value)
            reasons.setdefault(key, f"{quoted(each.cells[0])} {column}" + _doubt(spelled, each))
        if not spelled and len(each.rows) > 1 and each.cells.n_unique() == 1:
            markers.append(each.cells[0].lower())
            text = f"{quoted(each.cells[0])} stands {len(each.rows):,} times {column} of numbers"
            reasons.setdefault("missing_values", f"{text}; the others are the usual ones")
    if keys.get("decimal") == keys.get("thousands") == ",":  # 1,5 tells: 1,234 is a decimal too
        del keys["thousands"], reasons["thousands"]
    if markers:
        keys["missing_values"] = [*filter(None, USUAL_MISSING), *dict.fromkeys(markers)]
    return keys, reasons


def _doubt(keys: Mapping[str, str], found: BadCells) -> str:
    """Return what a comma between three digits leaves open."""
    if keys != {"thousands": ","} or surely_grouped(found.cells):
        return ""
    return '; a decimal comma would look the same: then decimal: "," in place of this'
