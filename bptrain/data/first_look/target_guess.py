"""Which column of a table is the one to predict: by its name, or the last one, of two values."""

import re
from collections.abc import Sequence

from bptrain.data.notes import listed
from bptrain.data.tables.column_fitting import id_columns
from bptrain.data.tables.table import Table, quoted
from bptrain.errors import UsageError

# as a whole, in any case and with any of space, _ and - between words; the surest first
NAMES = (
    *("target", "label", "labels", "class", "classes", "y", "outcome", "response", "output"),
    *("ground truth", "category", "result", "survived", "churn", "churned", "exited", "attrition"),
    *("default", "fraud", "spam", "diagnosis", "species", "sentiment", "income", "salary"),
    *("price", "sale price", "saleprice", "median house value", "medv", "quality", "rating"),
    *("score", "grade", "progression"),
)
QUESTION = r"(is|has|was|will)[ _-].+|.+[ _-](target|label|class|outcome)"
OPTION = "--target NAME"


def guess_target(table: Table, unusable: Sequence[str]) -> tuple[str, str]:
    """Return the column to predict, and the evidence; raise UsageError where nothing tells.

    unusable  columns that hold names, free text or nothing
    """
    names = [name for name in table.names if name not in {*unusable, *id_columns_of(table)}]
    plain = {name: re.sub(r"[ _-]+", " ", name).strip().lower() for name in names}
    for usual in NAMES:
        if found := [name for name in names if plain[name] == usual]:
            return found[-1], f"guessed: it is named {quoted(found[-1])}"
    asked = [
        name for name in names if re.fullmatch(QUESTION, name.lower()) and is_binary(table, name)
    ]
    if asked:
        return asked[-1], f"guessed: it is named {quoted(asked[-1])}, and has two values"
    if names and names[-1] == table.names[-1] and is_binary(table, names[-1]):
        return names[-1], "guessed: it is the last column, and has two values"
    raise UsageError(
        f"{table.path}: no column looks like the one to predict",
        f"by its name, or as the last one with two values; the columns: {listed(table.names, 20)}",
        f"{OPTION}, such as --target {table.names[-1]!r}",
    )


def id_columns_of(table: Table) -> list[str]:
    """Return the columns that number the rows."""
    return list(id_columns(table, table.names))


def is_binary(table: Table, name: str) -> bool:
    """Return whether a column has two different values, besides missing ones."""
    cells = table.column(name, OPTION)
    return bool(cells.filter(~table.format.is_missing(cells)).n_unique() == 2)
