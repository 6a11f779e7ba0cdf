"""Gradient accumulation: one update from several batches, as if they were one large batch.

The mean loss over a group of batches with weights n_1, n_2, ... and mean losses l_1, l_2, ... is

    l = sum_i n_i / n  l_i        n = n_1 + n_2 + ...

so batch i's loss is multiplied by n_i / n, and autograd accumulates the gradients in each
parameter. With 1 / size in its place, a smaller last batch would count as much as a full one.
Statistics over a batch, as in batch normalization, are still those of each batch alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """A batch, as accumulation needs it."""

    @property
    def weight(self) -> int:
        """Number of predictions that the mean loss is taken over."""
        ...


Batch = TypeVar("Batch", bound=Weighted)


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches of an epoch in lists of `size`; the last list may be shorter."""
    left = iter(batches)
    while group := list(islice(left, size)):
        yield group


def shares(group: Sequence[Weighted]) -> list[float]:
    """Return the share of each batch in the mean loss over the group."""
    total = sum(batch.weight for batch in group)
    return [batch.weight / total for batch in group]
