"""Files that cannot be read: all said at once, or left out and said."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from bptrain.data.notes import count
from bptrain.errors import DataError, shorten

OnBadFile = Literal["error", "skip"]

MANY = 10  # files that a message lists
NAME_WIDTH, REASON_WIDTH = 30, 25  # characters of a file's name and reason among several
SKIPPED = "data.on_bad_file: skip"


class BadFile(NamedTuple):
    """A file that cannot be read: its path below the root, and the error that names it."""

    name: str
    error: DataError

    @property
    def reason(self) -> str:
        """What is wrong with it, without its name."""
        return self.error.what.rpartition(f"{Path(self.name).name}: ")[2]


def refuse(root: str, bad: Sequence[BadFile], way_out: str = f"{SKIPPED} leaves it out") -> None:
    """Raise DataError that lists the first bad files, and how many more there are.

    way_out  what a user can do besides replacing a file
    """
    if not bad:
        return
    error = bad[0].error
    if len(bad) == 1:
        raise DataError(
            error.what, error.why, "; ".join(each for each in (error.hint, way_out) if each)
        )
    raise DataError(
        f"{len(bad):,} files below {root} cannot be read",
        listed(bad),
        "; ".join(each for each in ("replace or remove each", way_out) if each),
    )


def left_out(bad: Sequence[BadFile], files: int) -> list[str]:
    """Return how many of all files are left out, and the first of them with their reasons."""
    if not bad:
        return []
    return [f"left out: {len(bad):,} of {count(files, 'file')} ({SKIPPED}): {listed(bad)}"]


def listed(bad: Sequence[BadFile]) -> str:
    """Return the first bad files with their reasons, and how many more there are."""
    shown = "; ".join(
        f"{shorten(each.name, NAME_WIDTH)}: {shorten(each.reason, REASON_WIDTH)}"
        for each in bad[:MANY]
    )
    return shown + f"; and {len(bad) - MANY:,} more" * (len(bad) > MANY)
