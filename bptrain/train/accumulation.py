"""Gradient accumulation: one update from several batches, as if they were one large batch.

The mean loss over a group of batches with weights n_1, n_2, ... and mean losses l_1, l_2, ... is

    l = sum_i n_i / n  l_i        n = n_1 + n_2 + ...

so batch i's loss is multiplied by n_i / n, and autograd accumulates the gradients in each
parameter. With 1 / size in its place, a smaller last batch would count as much as a full one. A
batch whose targets are all ignored (n_i = 0) has the part 0 with the gradient 0, although its mean
loss, a mean of nothing, is NaN.
Statistics over a batch, as in batch normalization, are still those of each batch alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

import torch
from torch import Tensor


class Weighted(Protocol):
    """A batch, as accumulation needs it."""

    @property
    def weight(self) -> int:
        """Number of predictions that the mean loss is taken over."""
        ...

    @property
    def whole(self) -> int | None:
        """The number of the whole batch, where these are one process's rows of it."""
        ...


Batch = TypeVar("Batch", bound=Weighted)


def groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches of an epoch in lists of `size`; the last list may be shorter."""
    left = iter(batches)
    while group := list(islice(left, size)):
        yield group


def first_that_counts(batches: Iterable[Batch]) -> Batch:
    """Return the first batch with a target that is not ignored; the first one if there is none."""
    left = iter(batches)
    first = next(left)
    return first if first.weight else next((batch for batch in left if batch.weight), first)


def shares(group: Sequence[Weighted]) -> list[float]:
    """Return the share of each batch in the mean loss over the group, 0 if no batch counts.

    The group is that of all processes: the shares of one add up to 1 with those of the others.
    """
    total = sum(each.weight if each.whole is None else each.whole for each in group)
    return [batch.weight / total if total else 0.0 for batch in group]


def part_of_loss(loss: Tensor, share: float) -> Tensor:
    """Return the share of a batch's mean loss; a share of 0 is 0, with the gradient 0."""
    return loss * share if share else loss.masked_fill(loss.new_ones((), dtype=torch.bool), 0)
