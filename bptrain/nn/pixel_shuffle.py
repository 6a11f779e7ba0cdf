"""torch.nn.PixelShuffle with the backward pass of `bptrain.ops.pixel_shuffle`."""

import torch
from torch import Tensor

from bptrain.ops.pixel_shuffle import pixel_shuffle


class PixelShuffle(torch.nn.PixelShuffle):
    """Rearrange r^2 channels into r x r pixels of one channel."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input [..., C r^2, H, W] as [..., C, H r, W r]."""
        return pixel_shuffle(input, self.upscale_factor)
