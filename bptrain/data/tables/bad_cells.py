"""The cells of a table that are not what their column holds: all said at once, with what helps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bptrain.config.yaml_tree import write
from bptrain.data.tables.cell_format import UNITS, CellFormat
from bptrain.data.tables.table import Table, quoted
from bptrain.errors import DataError, shorten

if TYPE_CHECKING:
    import polars as pl

MANY = 10  # cells that a message lists
SHORT = 16  # characters of a cell among several
GROUPED = r"^[+-]?[\d]{1,3}(,\d{3})+(\.\d+)?$"
GROUPED_BY_POINT = r"^[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?$|^[+-]?\d{1,3}(\.\d{3})+,\d+$"
GROUPED_BY_SPACE = r"^[+-]?\d{1,3}([ \u00a0\u202f]\d{3})+([.,]\d+)?$"
GROUPED_BY_QUOTE = r"^[+-]?\d{1,3}('\d{3})+(\.\d+)?$"
DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
# of a cell that spells a number in another way: how, and the keys that have it read
SPELLINGS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (GROUPED_BY_POINT, "has points between thousands", {"thousands": ".", "decimal": ","}),
    (GROUPED_BY_SPACE, "has spaces between thousands", {"thousands": " "}),
    (GROUPED_BY_QUOTE, "has apostrophes between thousands", {"thousands": "'"}),
    (GROUPED, "has commas between thousands, or in place of a point", {"thousands": ","}),
    (DECIMAL_COMMA, "has a decimal comma", {"decimal": ","}),
)
EITHER = 'data.thousands: ",", or data.decimal: "," if it is a decimal comma'
DATES = (  # of the day, in the letters of strptime
    (r"^\d{4}/\d{1,2}/\d{1,2}$", "%Y/%m/%d"),
    (r"^\d{1,2}\.\d{1,2}\.\d{4}$", "%d.%m.%Y"),
    (r"^\d{1,2}/\d{1,2}/\d{4}$", "%d/%m/%Y"),
    (r"^\d{1,2}-\d{1,2}-\d{4}$", "%d-%m-%Y"),
    (r"^\d{1,2}\.\d{1,2}\.\d{2}$", "%d.%m.%y"),
    (r"^\d{1,2}/\d{1,2}/\d{2}$", "%d/%m/%y"),
    (r"^\d{1,2}[ -][A-Za-z]{3}[ -]\d{4}$", "%d-%b-%Y"),
)


@dataclass(frozen=True)
class BadCells:
    """Cells of a column that are not what its other cells are.

    rows    of them, counted from 0
    what    they are not, such as "is no number"
    others  what the other cells of the column are
    """

    column: str
    rows: "pl.Series"
    cells: "pl.Series"
    what: str
    others: str
    hint: str


class Places(Protocol):
    """A file, and where its rows are: a table."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def place(self, row: int) -> str:
        """Return the position in the file of a row."""
        ...


def refuse(table: Table, found: Sequence[BadCells]) -> None:
    """Raise DataError that lists the first bad cells, and how many more there are."""
    if columns := [each for each in found if len(each.rows)]:
        raise error_of(table, columns, sum(len(each.rows) for each in columns))


def error_of(table: Places, columns: Sequence[BadCells], total: int) -> DataError:
    """Return the error for the bad cells of some columns, each of which has one.

    total  number of bad cells in the file
    """
    first = columns[0]
    hint = "; ".join(dict.fromkeys(each.hint for each in columns if each.hint))
    if total == 1:
        cell, row = first.cells[0], first.rows[0]
        return DataError(
            f"{table.path}: {quoted(cell)} in column {quoted(first.column)} {first.what}",
            f"{table.place(row)}; {first.others}",
            hint,
        )
    shown = list(_listed(table, columns))[:MANY]
    more = f", and {total - MANY:,} more" * (total > MANY)
    named = ", ".join(quoted(each.column) for each in columns[:3]) + ", ..." * (len(columns) > 3)
    where = "column" if len(columns) == 1 else "columns"
    return DataError(
        f"{table.path}: {quoted(first.cells[0])} in column {quoted(first.column)} {first.what}; "
        f"{total:,} such cells in {where} {named}",
        f"{', '.join(shown)}{more}; {first.others}",
        hint,
    )


def _listed(table: Places, found: Iterable[BadCells]) -> Iterator[str]:
    """Yield cells with their places."""
    for each in found:
        for row, cell in zip(each.rows[:MANY], each.cells[:MANY], strict=True):
            yield f"{shorten(cell, SHORT)!r} in {table.place(row)}"


def not_numbers(
    table: Table, name: str, cells: "pl.Series", wrong: "pl.Series", unit: str = ""
) -> BadCells:
    """Return the cells of a column of numbers that are none, with the key that may help."""
    rows = wrong.arg_true()
    return explained_as_numbers(table.format, name, rows, cells.gather(rows), unit)


def explained_as_numbers(
    form: CellFormat, name: str, rows: "pl.Series", bad: "pl.Series", unit: str = ""
) -> BadCells:
    """Return cells that are no numbers, with the key that may help; `rows` are theirs."""
    import polars as pl

    numbers = form.as_numbers(bad[:1], unit)
    bad = bad.cast(pl.String)
    if unit and numbers.has_nulls():
        others = f"the other cells are numbers with {unit}"
        return BadCells(name, rows, bad, f"has no {unit}", others, "write all cells alike")
    if not numbers.has_nulls():
        return BadCells(
            name,
            rows,
            bad,
            "is not finite",
            "float32 holds numbers up to 3.4e+38",
            "correct the cell, or leave it empty for a missing value",
        )
    what, hint = spelling_of(bad)
    if not hint and bad.n_unique() == 1 and len(bad) > 1:
        hint = f"data.missing_values, with {bad[0]!r} and the others, if it means a missing value"
    hint = hint or f"correct the cell, or data.categorical: [{name}] if its numbers are names"
    return BadCells(name, rows, bad, what, "other cells of the column are numbers", hint)


def spelling_of(bad: "pl.Series") -> tuple[str, str]:
    """Return in which way cells spell numbers, and the key that has them read so."""
    for pattern, how, keys in SPELLINGS:
        if bad.str.contains(pattern).all():
            if pattern == GROUPED and not surely_grouped(bad):
                return how, EITHER
            how = "has commas between thousands" if pattern == GROUPED else how
            return how, ", ".join(f"data.{key}: {write(value)}" for key, value in keys.items())
    for unit in UNITS:
        if bad.str.contains(unit, literal=True).all():
            return f"has {unit}, other cells have not", "write all cells of the column alike"
    return "is no number", ""


def surely_grouped(cells: "pl.Series") -> bool:
    """Return whether the commas in cells cannot be decimal ones: there are several, or a point."""
    several = cells.str.contains(r",\d{3},").any()
    return bool(several or cells.str.contains(".", literal=True).any())


def spelling_keys(cells: "pl.Series") -> dict[str, str]:
    """Return the keys by which all cells are numbers; {} if they spell none in a known way."""
    known = (keys for pattern, _, keys in SPELLINGS if cells.str.contains(pattern).all())
    return next(known, {})


def date_form(cells: "pl.Series") -> str:
    """Return the strptime form that texts look like if they are dates, "" if they are none."""
    for pattern, form in DATES:
        if cells.str.contains(pattern).all():
            return _with_first_month(cells, form)
    return ""


def _with_first_month(cells: "pl.Series", form: str) -> str:
    """Return the form with the month in front of the day, if no other can be."""
    if not form.startswith("%d/"):
        return form
    months_last = cells.str.to_datetime(form, strict=False).is_not_null().all()
    return form if months_last else form.replace("%d/%m", "%m/%d")
