"""Pixel shuffle: r^2 channels become the r x r pixels of one, so that a convolution can enlarge.

Shapes     x [..., C r^2, H, W]   y [..., C, H r, W r]
Forward    y_c,(h r + i),(w r + j) = x_(c r^2 + i r + j),h,w        0 <= i, j < r
Backward   writing x' for dL/dx, given y'
    x'_(c r^2 + i r + j),h,w = y'_c,(h r + i),(w r + j)   because each x is copied to one
                                                          position of y, where dy/dx = 1
Saves      nothing, only r and the shape of x
Cost       one copy each way
Source     Shi et al. 2016, "Real-time single image and video super-resolution using an efficient
           sub-pixel convolutional neural network", equation 4; with torch's order of channels
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.operation import operation


class Saved(NamedTuple):
    """What the backward pass reads."""

    r: int
    shape: tuple[int, ...]  # of x


def forward(x: Tensor, r: int) -> tuple[Tensor, Saved]:
    """Return y [..., C, H r, W r]: the channels become pixels."""
    *leading, channels, H, W = x.shape
    C = channels // r**2
    pixels = x.reshape(*leading, C, r, r, H, W).movedim((-4, -3), (-3, -1))  # [..., C, H, r, W, r]
    return pixels.reshape(*leading, C, H * r, W * r), Saved(r, tuple(x.shape))


def backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' [*shape]: the pixels go back to their channels."""
    r, (*leading, channels, H, W) = saved.r, saved.shape
    pixels = grad_y.reshape(*leading, channels // r**2, H, r, W, r)
    moved = pixels.movedim((-3, -1), (-4, -3))  # [..., C, r, r, H, W]
    return moved.reshape(saved.shape)


def fused_forward(x: Tensor, r: int) -> tuple[Tensor, Saved]:
    """Return y from one kernel."""
    return torch.pixel_shuffle(x, r), Saved(r, tuple(x.shape))


def fused_backward(grad_y: Tensor, saved: Saved) -> Tensor:
    """Return x' from one kernel."""
    # torch leaves an empty tensor's shape as it is, which fails in its own backward pass
    return torch.pixel_unshuffle(grad_y, saved.r).view(saved.shape)


pixel_shuffle_function = operation(
    forward,
    backward,
    fused_forward=fused_forward,
    fused_backward=fused_backward,
    takes_complex=True,
)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Return input [..., C r^2, H, W] as [..., C, H r, W r], r the upscale_factor.

    Raises ValueError if the number of channels is not a multiple of r^2.
    """
    r = upscale_factor
    if r < 1 or input.dim() < 3 or input.shape[-3] % (r * r):
        raise ValueError(
            f"input has shape {list(input.shape)} and upscale_factor is {r}, expected "
            "[..., C r^2, H, W] and r of at least 1"
        )
    return pixel_shuffle_function(input, r)
