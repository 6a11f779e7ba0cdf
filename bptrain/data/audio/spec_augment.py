"""SpecAugment: stretches of time and bands of frequency are silenced, other ones every epoch.

Each mask is a pure function of (seed, epoch, sample), so that an epoch can be served again.

Masks   width uniform on 0 ... w, then start uniform on 0 ... length - width. A masked number
        becomes 0, which after standardization is the mean of its band.
Source  Park et al. 2019, "SpecAugment", section 2, without time warping. Of its bound on time
        masks, a share p of the sequence, p is 1/5 here
"""

import torch
from pydantic import Field
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.data.batches import Batch
from bptrain.data.hashed_random import Draws, shifted

SHARE = 5  # a time mask hides at most one in this many frames
BITS = 31  # of a random number: its product with a length stays inside int64


class SpecAugmentConfig(StrictConfig):
    """Masks on the training samples' features."""

    time_masks: int = Field(default=2, ge=0, le=64, description="stretches of time")
    time_width: int = Field(
        default=20, ge=0, le=65_536, description="frames of one at most, and a fifth of the sample"
    )
    frequency_masks: int = Field(default=2, ge=0, le=64, description="bands of frequency")
    frequency_width: int = Field(default=8, ge=0, le=1024, description="mels of one at most")

    def __call__(self, batch: Batch, seed: int, epoch: int, rows: Tensor) -> Batch:
        """Return the batch masked; `rows` [B] are the samples' numbers in their split."""
        inputs, *lengths = batch.inputs
        return batch._replace(
            inputs=(self.masked(inputs, Draws(seed, epoch, rows), *lengths), *lengths)
        )

    def masked(self, inputs: Tensor, dealt: Draws, lengths: Tensor | None = None) -> Tensor:
        """Return inputs [B, T, F] masked.

        lengths  frames of each [B], where they differ: no mask is spent on padding
        """
        _, frames, mels = inputs.shape
        draws = shifted(dealt.bits(2 * (self.time_masks + self.frequency_masks)), 64 - BITS)
        in_time, in_frequency = draws.split([2 * self.time_masks, 2 * self.frequency_masks], 1)
        if lengths is None:
            lengths = torch.full_like(dealt.rows, frames)
        lengths = lengths.unsqueeze(1)
        widest = (lengths // SHARE).clamp(max=self.time_width)
        hidden_frames = _hidden(in_time, frames, lengths, widest)
        bands = torch.full_like(lengths, mels)
        hidden_mels = _hidden(in_frequency, mels, bands, bands.clamp(max=self.frequency_width))
        return inputs.masked_fill(hidden_frames.unsqueeze(2) | hidden_mels.unsqueeze(1), 0)


def _hidden(draws: Tensor, size: int, lengths: Tensor, widest: Tensor) -> Tensor:
    """Return what masks hide of each sample's axis [B, size]: two draws [B, 2 M] for each mask."""
    first, second = draws.chunk(2, 1)
    widths = first * (widest + 1) >> BITS  # [B, M]
    starts = second * (lengths - widths + 1) >> BITS
    places = torch.arange(size, device=draws.device).view(-1, 1)
    ends = (starts + widths).unsqueeze(1)
    inside = (places >= starts.unsqueeze(1)) & (places < ends)  # [B, size, M]
    return inside.any(2)
