"""Gradient accumulation: one update from several batches, as if they had been one.

The mean loss over a group of batches with weights n_1, n_2, ... and mean losses l_1, l_2, ... is

    l = sum_i n_i / n  l_i        n = n_1 + n_2 + ...

so the gradient that batch i's loss hands down is n_i / n, and autograd adds them up in each
parameter. With 1 / size in its place, a smaller last batch would count as much as a full one.
What a layer computes over a batch, as in batch normalization, it still computes over each.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Batch = TypeVar("Batch")


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches of an epoch in lists of `size`; the last one takes what is left."""
    left = iter(batches)
    while group := list(islice(left, size)):
        yield group
