"""Rows of a table as they are read from its file: a block of text at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl  # imported where a table is read: it takes a quarter of a second


@dataclass(frozen=True)
class Block:
    """Some rows of a file, their cells as text without spaces around it.

    lines    the line where each row ends; none for Parquet
    numbers  of the rows in the file, from 1: one that is passed by is missing
    share    of the file that has been read with the last of them, 0 to 1
    """

    frame: "pl.DataFrame"
    lines: NDArray[np.int64]
    numbers: NDArray[np.int64]
    share: float

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    def slice(self, start: int, rows: int) -> "Block":
        """Return some rows; the file is taken to have been read evenly up to this block's end."""
        chosen = slice(start, start + rows)
        numbers = self.numbers[chosen]
        share = self.share * numbers[-1] / self.numbers[-1] if len(numbers) else self.share
        return Block(self.frame.slice(start, rows), self.lines[chosen], numbers, float(share))

    def and_then(self, other: "Block") -> "Block":
        """Return these rows and those of the next block of the file."""
        return Block(
            self.frame.vstack(other.frame),
            np.concatenate([self.lines, other.lines]),
            np.concatenate([self.numbers, other.numbers]),
            other.share,
        )


def evenly(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """Yield the rows of blocks so many at a time, the last ones as they are left."""
    held: Block | None = None
    for block in blocks:
        found = block if held is None else held.and_then(block)
        whole = len(found) // rows * rows
        yield from (found.slice(start, rows) for start in range(0, whole, rows))
        held = found.slice(whole, rows)
    if held is not None and len(held):
        yield held
