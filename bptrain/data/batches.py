"""Batches cut from tensors that already lie on the training device: no per-sample Python work."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bptrain.data.splits import Split


class Batches:
    """The batches of each epoch; the last one of an epoch may be smaller.

    seed   None serves the samples in their order; a number shuffles each epoch by a permutation
           that is a pure function of (seed, epoch), so that any epoch can be served again
    """

    def __init__(self, split: Split, batch_size: int, seed: int | None = None) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs [B, ...], targets [B]) for each batch of the epoch counted from 0."""
        inputs, targets = self.split.inputs, self.split.targets
        if self.seed is None:
            yield from zip(
                inputs.split(self.batch_size), targets.split(self.batch_size), strict=True
            )
            return
        order = permutation(len(self.split), self.seed, epoch).to(inputs.device)
        for rows in order.split(self.batch_size):
            yield inputs.index_select(0, rows), targets.index_select(0, rows)


def permutation(samples: int, seed: int, epoch: int) -> Tensor:
    """Return the order [samples] of an epoch, drawn on the CPU: the same on every device."""
    # SeedSequence-like mixing: neighbouring (seed, epoch) pairs must not share a stream, which
    # seed + epoch would.
    mixed = (seed * 0x9E3779B97F4A7C15 + (epoch + 1) * 0xD1B54A32D192ED03) % 2**63
    return torch.randperm(samples, generator=torch.Generator().manual_seed(mixed))
