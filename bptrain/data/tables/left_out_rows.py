"""Rows of a table that cannot be predicted: passed by, and told together when the table ends."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from bptrain.data.splits import Samples
from bptrain.data.tables.blocks import Block
from bptrain.data.tables.csv_errors import RaggedRows
from bptrain.errors import DataError


class Part(NamedTuple):
    """Some rows of a table as the model reads them, and their numbers in the file, from 1."""

    samples: Samples
    numbers: Sequence[int]


class Reason(Protocol):
    """Rows that were left out for the same reason."""

    @property
    def count(self) -> int:
        """The number of rows."""
        ...

    def errors(self) -> Iterator[DataError]:
        """Yield the errors that name them; none if there are none."""
        ...


class LeftOutRows:
    """How much of a table was read so far, and which of its rows were left out.

    share  of the file that has been read, 0 to 1
    """

    def __init__(self) -> None:
        self.share = 0.0
        self._whole = 0
        self._ragged: RaggedRows | None = None
        self._reasons: list[Reason] = []

    @property
    def rows(self) -> int:
        """The number of rows that were read."""
        return self._whole + (self._ragged.count if self._ragged else 0)

    @property
    def count(self) -> int:
        """The number of rows that were left out."""
        return sum(each.count for each in self._reasons)

    def note_ragged(self, ragged: RaggedRows) -> None:
        """Note the rows of the file that have too few cells or too many."""
        self._ragged = ragged
        self._reasons.append(ragged)

    def note_read(self, block: Block) -> None:
        """Note rows with as many cells as the table has columns."""
        self._whole += len(block)
        self.share = block.share

    def note(self, reason: Reason) -> None:
        """Note rows that are left out for a reason, which may find more of them later."""
        self._reasons.append(reason)

    def errors(self) -> Iterator[DataError]:
        """Yield the errors that name the rows which were left out."""
        for each in self._reasons:
            yield from each.errors()
