"""Histograms of magnitudes: how many numbers lie in each octave, from 2^-24 to 2^8.

The octaves are fixed, so that the host need not wait for a largest and a smallest number; and they
show what a linear axis hides: gradients that underflow in 16 bits, below 2^-24, or overflow.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

SMALLEST, LARGEST = -24, 8  # exponents of 2; what is beyond counts in the first or last octave


def octaves(tensors: Iterable[Tensor]) -> Tensor:
    """Return how many of the numbers lie in each octave [32]; zeros count in the first one."""
    bins = LARGEST - SMALLEST
    counts = [
        torch.histc(
            each.detach().float().abs().log2().clamp(SMALLEST, LARGEST - 0.5),
            bins,
            min=SMALLEST,
            max=LARGEST,
        )
        for each in tensors
    ]
    return torch.stack(counts).sum(0)
