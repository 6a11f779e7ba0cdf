"""The order of an epoch in which each class comes equally often."""

import torch
from torch import Tensor

from bptrain.data.batches import generator_of, permutation

SLOTS = 1  # separates the generator of the classes' order from that of the samples'


class BalancedOrder:
    """As many samples as there are, of each class equally many up to one, in random order.

    Of a frequent class an epoch has some samples, each once; those of a rare class are repeated,
    each equally often up to one. A pure function of (seed, epoch), as `permutation` is.
    """

    def __init__(self, classes: Tensor) -> None:
        _, self.classes, self.counts = classes.cpu().unique(return_inverse=True, return_counts=True)

    def __call__(self, samples: int, seed: int, epoch: int) -> Tensor:
        """Return the indices of an epoch's samples [N]."""
        shuffled = permutation(samples, seed, epoch)
        grouped = shuffled[self.classes[shuffled].argsort(stable=True)]
        starts = self.counts.cumsum(0) - self.counts
        slots = torch.randperm(samples, generator=generator_of(seed, epoch, SLOTS))
        kind, turn = slots % len(self.counts), slots // len(self.counts)
        return grouped[starts[kind] + turn % self.counts[kind]]
