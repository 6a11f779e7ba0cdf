"""Batches cut from tensors that already lie on the training device: no per-sample Python work."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

MULTIPLIERS = (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)  # odd, their bits spread evenly


class Batch(NamedTuple):
    """What one step sees.

    inputs   arguments of the model: the samples [B, ...], and of sequences that differ in length
             their lengths [B]
    targets  arguments of the loss after the model's outputs
    weight   predictions that the batch's mean loss is taken over: samples, or time steps
    """

    inputs: tuple[Any, ...]
    targets: tuple[Tensor, ...]
    weight: int


class BatchSource(Protocol):
    """Serves the batches of a split, an epoch at a time."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on; both are counted from 0.

        They are the same ones whenever it is asked, and those before `start` are not made.
        """
        ...


class Augment(Protocol):
    """Changes a training batch, as a pure function of all that it is given."""

    def __call__(self, batch: Batch, seed: int, epoch: int, rows: Tensor) -> Batch:
        """Return the batch changed; `rows` [B] are the samples' numbers in their split."""
        ...


class Batches:
    """Rows of tensors, cut into batches; the last one of an epoch may be smaller.

    inputs, targets  tensors whose first axis is the sample's
    predictions      of each sample [N], on the CPU, where they differ; else a sample is one
    seed             None serves the samples in their order; a number shuffles each epoch by a
                     permutation that is a pure function of (seed, epoch), so that any epoch can be
                     served again
    augment          changes the batches of shuffled epochs, which are those that are trained with
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

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.inputs[0]) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on."""
        samples, device = len(self.inputs[0]), self.inputs[0].device
        if self.seed is None:
            for first in range(start * self.batch_size, samples, self.batch_size):
                rows = slice(first, first + self.batch_size)
                yield self.cut(rows, rows)
            return
        order = permutation(samples, self.seed, epoch)
        parts = (each.split(self.batch_size)[start:] for each in (order, order.to(device)))
        for rows, chosen in zip(*parts, strict=True):
            batch = self.cut(chosen, rows)
            if self.augment is not None:
                batch = self.augment(batch, self.seed, epoch, chosen)
            yield batch

    def cut(self, chosen: Tensor | slice, rows: Tensor | slice) -> Batch:
        """Return the batch of these rows, which are named on the samples' device and on the CPU."""

        def held(tensor: Tensor) -> Tensor:
            return tensor[chosen] if isinstance(chosen, slice) else tensor.index_select(0, chosen)

        inputs, targets = (tuple(map(held, each)) for each in (self.inputs, self.targets))
        asked = self.predictions
        return Batch(inputs, targets, len(inputs[0]) if asked is None else int(asked[rows].sum()))


def permutation(samples: int, seed: int, epoch: int) -> Tensor:
    """Return the order [samples] of an epoch, drawn on the CPU: the same on every device."""
    return torch.randperm(samples, generator=generator_of(seed, epoch))


def generator_of(*numbers: int) -> torch.Generator:
    """Return a generator that is a pure function of the numbers, such as (seed, epoch).

    Neighbours must not share a stream, which seed + epoch would.
    """
    mixed = 0
    for place, number in enumerate(numbers):
        mixed = (mixed + (number + (place > 0)) * MULTIPLIERS[place % 2]) % 2**63
    return torch.Generator().manual_seed(mixed)
