"""SpecAugment: random spans of time and frequency are masked, new ones every epoch.

Each mask is a pure function of (seed, epoch, sample), so that any epoch can be reproduced.

Masks   width uniform on 0 ... w, then start uniform on 0 ... length - width. A masked number
        becomes 0, which after standardization is the mean of its band.
Source  Park et al. 2019, "SpecAugment", section 2, without time warping. Its upper
        bound on a time mask, a fraction p of the sequence, is p = 1/5 here
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.data.batches import Batch
from bptrain.data.hashed_random import Draws, shifted

LEAST_FRAMES = 5  # a time mask covers at most one in this many frames
BITS = 31  # of a random number: its product with a length fits into int64


class SpecAugmentConfig(StrictConfig):
    """Random masks on the training spectrograms (SpecAugment)."""

    mixes: ClassVar[bool] = False

    time_masks: int = Field(
        default=2, ge=0, le=64, description="masks over time per recording; 0 for none"
    )
    time_width: int = Field(
        default=20,
        ge=0,
        le=65_536,
        description="largest width of a time mask in frames; never more than a fifth of the "
        "recording",
    )
    frequency_masks: int = Field(
        default=2, ge=0, le=64, description="masks over mel bands per recording; 0 for none"
    )
    frequency_width: int = Field(
        default=8, ge=0, le=1024, description="largest width of a frequency mask in mel bands"
    )

    def __call__(self, batch: Batch, seed: int, epoch: int, rows: Tensor) -> Batch:
        """Return the batch masked; `rows` [B] are the samples' numbers in their split."""
        inputs, *lengths = batch.inputs
        return batch._replace(
            inputs=(self.masked(inputs, Draws(seed, epoch, rows), *lengths), *lengths)
        )

    def masked(self, inputs: Tensor, draws: Draws, lengths: Tensor | None = None) -> Tensor:
        """Return inputs [B, T, F] masked.

        lengths  frames of each [B] where these vary: masks lie within them, not on padding
        """
        _, frames, mels = inputs.shape
        numbers = shifted(draws.bits(2 * (self.time_masks + self.frequency_masks)), 64 - BITS)
        in_time, in_frequency = numbers.split([2 * self.time_masks, 2 * self.frequency_masks], 1)
        if lengths is None:
            lengths = torch.full_like(draws.rows, frames)
        lengths = lengths.unsqueeze(1)
        widest = (lengths // LEAST_FRAMES).clamp(max=self.time_width)
        frames_masked = _masked(in_time, frames, lengths, widest)
        bands = torch.full_like(lengths, mels)
        mels_masked = _masked(in_frequency, mels, bands, bands.clamp(max=self.frequency_width))
        return inputs.masked_fill(frames_masked.unsqueeze(2) | mels_masked.unsqueeze(1), 0)


def _masked(numbers: Tensor, size: int, lengths: Tensor, widest: Tensor) -> Tensor:
    """Return which elements of each sample's axis are masked [B, size].

    numbers  [B, 2 M]: two for each of M masks, its width and its start
    """
    first, second = numbers.chunk(2, 1)
    widths = first * (widest + 1) >> BITS  # [B, M]
    starts = second * (lengths - widths + 1) >> BITS
    positions = torch.arange(size, device=numbers.device).view(-1, 1)
    ends = (starts + widths).unsqueeze(1)
    inside = (positions >= starts.unsqueeze(1)) & (positions < ends)  # [B, size, M]
    return inside.any(2)
