"""How the cells of a table spell numbers and dates, and which of them are missing."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

# in lower case; what spreadsheets, pandas, R, databases and people write
USUAL_MISSING = (
    *("", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "--"),
    *("#n/a", "#na", "#n/a n/a", "<na>", "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
)
LARGEST = 3.4e38  # float32 holds no larger number
SPACES = {" ": "[ \u00a0\u202f]"}  # that separate thousands
CURRENCIES = "$€£¥₹₩₽₺"
UNITS = tuple("%" + CURRENCIES)
ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?$"
DAY_US = 86_400_000_000  # microseconds of a day


@dataclass(frozen=True)
class CellFormat:
    """How cells are read: `decimal` and `thousands` separators, and markers of missing ones.

    missing  texts in lower case
    """

    decimal: str = "."
    thousands: str = ""
    missing: tuple[str, ...] = USUAL_MISSING

    @cached_property
    def missing_numbers(self) -> list[float]:
        """The markers that are numbers, such as -999: 999.0 and 999 are one number."""
        return [float(each) for each in self.missing if re.fullmatch(r"[+-]?\d+(\.\d*)?", each)]

    def is_missing(self, cells: "pl.Series") -> "pl.Series":
        """Return for each cell whether it is missing."""
        import polars as pl

        if cells.dtype != pl.String:
            return cells.is_null()
        missing = cells.str.to_lowercase().is_in(self.missing)
        if self.missing_numbers:
            missing |= self.as_numbers(cells).is_in(self.missing_numbers).fill_null(value=False)
        return missing

    def as_numbers(self, cells: "pl.Series", unit: str = "") -> "pl.Series":
        """Return the number that each cell spells, NaN and infinity among them; null for text.

        unit  a percent or currency sign that each cell must have
        """
        import polars as pl

        if cells.dtype != pl.String:
            return cells if not unit else cells.clear(len(cells))
        if unit:
            cells = without_unit(cells, unit)
        return self.with_point(cells).cast(float, strict=False)

    def with_point(self, cells: "pl.Series") -> "pl.Series":
        """Return numbers as everyone spells them, null for those with another decimal point."""
        if self.thousands:
            separator = SPACES.get(self.thousands, re.escape(self.thousands))
            grouped = cells.str.contains(
                rf"^[+-]?\d{{1,3}}({separator}\d{{3}})+({re.escape(self.decimal)}\d*)?$"
            )
            cells = cells.zip_with(~grouped, cells.str.replace_all(separator, ""))
        if self.decimal == ",":
            other = cells.str.contains(".", literal=True)
            cells = cells.str.replace(",", ".", literal=True).set(other, None)
        return cells

    def numbers(self, cells: "pl.Series", unit: str = "") -> "tuple[pl.Series, pl.Series]":
        """Return the numbers of a column, null where one is missing, and which cells are none.

        A number that float32 does not hold is none.
        """
        import polars as pl

        none_wrong = pl.Series(np.zeros(len(cells), bool))
        if cells.dtype != pl.String and not unit:
            return cells, none_wrong
        numbers = self.as_numbers(cells, unit)
        # by numpy: polars starts a query for each operation, which takes longer than a short column
        if not self.missing_numbers and (np.abs(numbers.to_numpy()) <= LARGEST).all():
            return numbers, none_wrong
        fine = (numbers.abs() <= LARGEST).fill_null(value=False)
        if self.missing_numbers:
            fine &= ~numbers.is_in(self.missing_numbers).fill_null(value=False)
        places = (~fine).arg_true()
        bad = places.filter(~self.is_missing(cells.gather(places)))
        return numbers.set(~fine, None), none_wrong.scatter(bad, True)

    def unit_of(self, cells: "pl.Series") -> str:
        """Return the percent or currency sign that the first number of a column has, if any."""
        import polars as pl

        if cells.dtype != pl.String:
            return ""
        for unit in UNITS:
            first = cells.filter(cells.str.contains(unit, literal=True)).head(1)
            if len(first) and not self.as_numbers(first, unit).has_nulls():
                return unit
        return ""


def without_unit(cells: "pl.Series", unit: str) -> "pl.Series":
    """Return numbers without the sign that stands before or after each; null where none does."""
    sign = re.escape(unit)
    bare = cells.str.replace(rf"^([+-]?)\s*{sign}\s*", "$1")
    bare = bare.zip_with(bare != cells, cells.str.replace(rf"\s*{sign}$", ""))
    return bare.set(bare == cells, None)


def is_iso_date(cells: "pl.Series") -> "pl.Series":
    """Return for each cell whether it spells a date, or a date and a time, as ISO 8601 does."""
    return cells.str.contains(ISO_DATE)


def moments(cells: "pl.Series", form: str | None) -> "pl.Series":
    """Return the date and time that each cell spells, null for one that spells none.

    form  of the cells, in the letters of strptime; None for ISO 8601
    """
    import polars as pl

    if form is not None:
        return cells.str.to_datetime(form, strict=False, time_unit="us").dt.replace_time_zone(None)
    whole = (
        cells.str.replace(" ", "T", literal=True)
        .str.strip_suffix("Z")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00")
        .str.replace(r"(T\d{2}:\d{2})$", "${1}:00")
    )
    found = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    return found if found.dtype == pl.Datetime else found.cast(pl.Datetime("us"))
