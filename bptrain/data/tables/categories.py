"""The categories that cells name: numbers and truth values by value, other texts as written.

2, 2.0 and +2 are one category, and so are True and TRUE. 02 is another: postal codes and other
codes keep their zeros.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from bptrain.data.tables.cell_format import CellFormat

if TYPE_CHECKING:
    import polars as pl

NUMBER = r"^[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d{1,2})?$"
TRUTH = r"(?i)^(true|false)$"


def categories_of(cells: "pl.Series", form: CellFormat) -> "pl.Series":
    """Return the category of each cell, "" for a missing one."""
    import polars as pl

    missing = form.is_missing(cells)
    if cells.dtype != pl.String:
        cells = cells.cast(pl.String).fill_null("")
    return by_value(cells.set(missing, ""), form)


def by_value(cells: "pl.Series", form: CellFormat) -> "pl.Series":
    """Return the cells, numbers and truth values each in one spelling."""
    different = cells.unique()
    plain = form.with_point(different).fill_null("")
    numbers = (plain.str.contains(NUMBER) & plain.str.contains(r"\d")).arg_true()
    truths = different.filter(different.str.contains(TRUTH))
    spelled = dict(
        zip(different.gather(numbers), map(spelling, plain.gather(numbers)), strict=True)
    )
    spelled |= {cell: cell.capitalize() for cell in truths}
    changed = {cell: other for cell, other in spelled.items() if cell != other}
    return cells.replace(changed) if changed else cells


def spelling(number: str) -> str:
    """Return the one spelling of a number, exact beyond 2^53: 2 for 2.0, 2.5 for +2.50."""
    value = Decimal(number)
    whole = value.to_integral_value()
    return str(int(value)) if value == whole else format(value.normalize(), "f")
