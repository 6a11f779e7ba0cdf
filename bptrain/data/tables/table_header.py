"""The names of a table's columns, what its cells spell, and how many of them are read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bptrain.errors import DataError, shorten

MOST_COLUMNS = 10_000
MOST_CELLS = 2 * 10**8  # text cells take some 60 bytes each: 12 GB
SHOWN = 40  # characters of a cell or a name in a message


def quoted(text: str) -> str:
    """Return a cell or a name as messages show it."""
    return repr(shorten(text, SHOWN))


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return the first of many names."""
    shown = [quoted(name) for name in names]
    more = f", ... ({len(shown):,} in all)" * (len(shown) > most)
    return ", ".join(shown[:most]) + more


def number(cell: str) -> float | None:
    """Return the number that a cell spells, NaN and infinity among them; None for text."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return None if "_" in cell else value  # Python's own 1_000 is no number elsewhere


def checked_names(path: Path, header: Sequence[str]) -> list[str]:
    """Return the names of the columns, or raise DataError."""
    names = [name.strip() for name in header]
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read")
    if "" in names:
        hint = "of pandas' to_csv, index=False leaves its own column out"
        raise DataError(f"{path}: column {names.index('') + 1:,} has no name", "", hint)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: two columns have the same name: {listed(repeated)}")
    return names


def refuse_if_huge(path: Path, rows: int, columns: int) -> None:
    """Raise DataError for more cells than are read."""
    if rows * columns > MOST_CELLS:
        raise DataError(
            f"{path}: more than {MOST_CELLS:,} cells",
            f"{rows:,} rows of {columns:,} columns",
            "take a part of the rows or columns",
        )
