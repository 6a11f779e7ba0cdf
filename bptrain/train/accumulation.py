"""Gradient accumulation: one update from several batches, as if they had been one.

The mean loss over a group of batches with weights n_1, n_2, ... and mean losses l_1, l_2, ... is

    l = sum_i n_i / n  l_i        n = n_1 + n_2 + ...

so the gradient that batch i's loss hands down is n_i / n, and autograd adds them up in each
parameter. With 1 / size in its place, a smaller last batch would count as much as a full one.
What a layer computes over a batch, as in batch normalization, it still computes over each.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """A batch, as far as accumulation looks at it."""

    @property
    def weight(self) -> int:
        """Predictions that the mean loss is taken over."""
        ...


Batch = TypeVar("Batch", bound=Weighted)


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches of an epoch in lists of `size`; the last one takes what is left."""
    left = iter(batches)
    while group := list(islice(left, size)):
        yield group


def shares(group: Sequence[Weighted]) -> list[float]:
    """Return the share of each batch in the mean loss over the group."""
    total = sum(batch.weight for batch in group)
    return [batch.weight / total for batch in group]
