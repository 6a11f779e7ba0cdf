"""torch.nn.PixelShuffle with the backward pass of `bptrain.ops.pixel_shuffle`."""

import torch
from torch import Tensor

from bptrain.ops.pixel_shuffle import pixel_shuffle


class PixelShuffle(torch.nn.PixelShuffle):
    """r^2 channels made the r x r pixels of one."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input [..., C r^2, H, W] as [..., C, H r, W r]."""
        return pixel_shuffle(input, self.upscale_factor)
