"""Batches selected from tensors on the training device, without Python code per sample."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

MULTIPLIERS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)  # odd, with evenly mixed bits


class Batch(NamedTuple):
    """The data of one training step.

    inputs   arguments of the model: the samples [B, ...], and their lengths [B] where these vary
    targets  arguments of the loss after the model's outputs
    weight   number of predictions that the batch's loss is the mean of: samples, or time steps
    whole    the weight of the whole batch, where these are one process's rows of it
    """

    inputs: tuple[Any, ...]
    targets: tuple[Tensor, ...]
    weight: int
    whole: int | None = None

    def part(self, rows: slice, weight: int) -> "Batch":
        """Return some rows as a part of this batch; for none the first one, which counts nothing.

        weight  of these rows
        """
        cut = taken(rows)
        inputs, targets = (tuple(each[cut] for each in of) for of in (self.inputs, self.targets))
        return Batch(inputs, targets, weight, self.weight)


class BatchSource(Protocol):
    """Yields the batches of a split, one epoch at a time."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on; both count from 0.

        The same arguments always give the same batches; those before `start` are not computed.
        """
        ...


Order: TypeAlias = Callable[[int, int, int], Tensor]  # samples, seed, epoch -> indices [N]


@runtime_checkable
class Reorderable(Protocol):
    """Batches whose samples can come in another order than shuffled."""

    def in_order(self, order: Order) -> BatchSource:
        """Return the batches of the samples that an order names; it may repeat some."""
        ...


Rows: TypeAlias = Callable[[int], slice]  # samples of a batch -> those that a process trains on


@runtime_checkable
class Divisible(Protocol):
    """Batches of which each of several processes can be served its rows."""

    def divided(self, rows: Rows) -> BatchSource:
        """Return the same batches, of each some rows."""
        ...


class Augment(Protocol):
    """Changes a training batch, as a pure function of its arguments."""

    @property
    def mixes(self) -> bool:
        """Whether a sample's change depends on the other samples of its batch."""
        ...

    def __call__(self, batch: Batch, seed: int, epoch: int, rows: Tensor) -> Batch:
        """Return the changed batch; `rows` [B] are the samples' indices in their split."""
        ...


class Batches:
    """Rows of tensors as batches; the last batch of an epoch may be smaller.

    inputs, targets  tensors whose first axis is the sample axis
    predictions      number of predictions of each sample [N], on the CPU; None means one each
    seed             None yields the samples in their order; a number shuffles each epoch by a
                     permutation that is a pure function of (seed, epoch), so that any epoch can be
                     reproduced
    augment          changes the batches of shuffled epochs, which are the training epochs
    """

    def __init__(
        self,
        inputs: tuple[Tensor, ...],
        targets: tuple[Tensor, ...],
        batch_size: int,
        seed: int | None = None,
        predictions: Tensor | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.inputs, self.targets = inputs, targets
        self.batch_size, self.seed = batch_size, seed
        self.predictions, self.augment = predictions, augment
        self.order: Order = permutation
        self.rows: Rows | None = None

    def in_order(self, order: Order) -> "Batches":
        """Return the batches of the samples that an order names."""
        changed = copy(self)
        changed.order = order
        return changed

    def divided(self, rows: Rows) -> "Batches":
        """Return the same batches, of each some rows: cut out last, so that no number differs."""
        changed = copy(self)
        changed.rows = rows
        return changed

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.inputs[0]) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on."""
        samples, device = len(self.inputs[0]), self.inputs[0].device
        if self.seed is None:
            for first in range(start * self.batch_size, samples, self.batch_size):
                rows = slice(first, first + self.batch_size)
                yield self._own(self.select(rows, rows), rows)
            return
        order = self.order(samples, self.seed, epoch)
        parts = (each.split(self.batch_size)[start:] for each in (order, order.to(device)))
        for rows, device_rows in zip(*parts, strict=True):
            batch = self.select(device_rows, rows)
            if self.augment is not None:
                batch = self.augment(batch, self.seed, epoch, device_rows)
            yield self._own(batch, rows)

    def _own(self, batch: Batch, rows: Tensor | slice) -> Batch:
        """Return this process's part of the batch of these rows, given as indices on the CPU."""
        if self.rows is None:
            return batch
        own, counts = self.rows(len(batch.targets[0])), self.predictions
        return batch.part(own, len_of(own) if counts is None else int(counts[rows][own].sum()))

    def samples(self, epoch: int, batch: int) -> Tensor:
        """Return the indices of the samples of a batch [B]; epoch and batch count from 0."""
        count = len(self.inputs[0])
        order = torch.arange(count) if self.seed is None else self.order(count, self.seed, epoch)
        return order[batch * self.batch_size :][: self.batch_size]

    def select(self, device_rows: Tensor | slice, rows: Tensor | slice) -> Batch:
        """Return the batch of these rows, given as indices on the samples' device and on the CPU.

        The CPU's copy spares a wait for the device.
        """

        def selected(tensor: Tensor) -> Tensor:
            if isinstance(device_rows, slice):
                return tensor[device_rows]
            return tensor.index_select(0, device_rows)

        inputs, targets = (tuple(map(selected, each)) for each in (self.inputs, self.targets))
        counts = self.predictions
        return Batch(inputs, targets, len(inputs[0]) if counts is None else int(counts[rows].sum()))


@dataclass(frozen=True)
class FewBatches:
    """The first batches of each epoch."""

    source: BatchSource
    batches: int

    def in_order(self, order: Order) -> "FewBatches":
        """Return the first batches in another order."""
        assert isinstance(self.source, Reorderable), "a plan refuses others"
        return FewBatches(self.source.in_order(order), self.batches)

    def divided(self, rows: Rows) -> "FewBatches":
        """Return the first batches, of each some rows."""
        assert isinstance(self.source, Divisible), "a plan refuses others"
        return FewBatches(self.source.divided(rows), self.batches)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return min(self.batches, len(self.source))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch counted from 0."""
        return islice(self.source.epoch(epoch, start), max(0, self.batches - start))


def taken(rows: slice) -> slice:
    """Return rows of a batch, the first one in place of none: a step needs a sample."""
    return rows if rows.start < rows.stop else slice(1)


def len_of(rows: slice) -> int:
    """Return how many rows there are from a start to a stop."""
    return int(rows.stop - rows.start)


def permutation(samples: int, seed: int, epoch: int) -> Tensor:
    """Return the order of an epoch's samples [N], drawn on the CPU: the same on every device."""
    return torch.randperm(samples, generator=generator_of(seed, epoch))


def generator_of(*numbers: int) -> torch.Generator:
    """Return a generator that is a pure function of the numbers, such as (seed, epoch).

    A plain sum of seed and epoch would give neighboring pairs the same stream.
    """
    mixed = 0
    for position, number in enumerate(numbers):
        mixed = (mixed + (number + (position > 0)) * MULTIPLIERS[position % 2]) % 2**63
    return torch.Generator().manual_seed(mixed)
