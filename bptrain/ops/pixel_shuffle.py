"""Pixel shuffle: r^2 channels become the r x r pixels of one, so that a convolution can enlarge.

Shapes     x [..., C r^2, H, W]   y [..., C, H r, W r]
Forward    y_c,(h r + i),(w r + j) = x_(c r^2 + i r + j),h,w        0 <= i, j < r
Backward   writing x' for dL/dx, given y'
    x'_(c r^2 + i r + j),h,w = y'_c,(h r + i),(w r + j)   because each x goes to one place of y,
                                                          where dy/dx = 1
Keeps      nothing, only r and the shape of x
Cost       one copy each way
Source     Shi et al. 2016, "Real-time single image and video super-resolution using an efficient
           sub-pixel convolutional neural network", equation 4; with torch's order of channels
"""

from typing import Any

import torch
from torch import Tensor

from bptrain.ops.autocast import first_derivative, in_given_dtype
from bptrain.ops.fused import carried_out_by


def forward(x: Tensor, r: int) -> Tensor:
    """Return y [..., C, H r, W r]."""
    return torch.pixel_shuffle(x, r)


def backward_in_one_pass(grad_y: Tensor, r: int, shape: tuple[int, ...]) -> Tensor:
    """Return x' from one kernel."""
    # torch leaves an empty tensor's shape as it is, which fails in its own backward pass
    return torch.pixel_unshuffle(grad_y, r).view(shape)


@carried_out_by(backward_in_one_pass)
def backward(grad_y: Tensor, r: int, shape: tuple[int, ...]) -> Tensor:
    """Return x' [*shape]: the pixels go back to their channels."""
    *leading, channels, H, W = shape
    pixels = grad_y.reshape(*leading, channels // r**2, H, r, W, r)
    return pixels.movedim((-3, -1), (-4, -3)).reshape(shape)  # [..., C, r, r, H, W], then merged


class PixelShuffleFunction(torch.autograd.Function):
    """Glue between autograd and the two functions above."""

    @staticmethod
    @in_given_dtype
    def forward(ctx: Any, x: Tensor, r: int) -> Tensor:
        """Run the forward pass; no tensor is kept."""
        ctx.r, ctx.shape = r, tuple(x.shape)
        return forward(x, r)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        """Run the backward pass."""
        return backward(grad_y, ctx.r, ctx.shape), None


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Return input [..., C r^2, H, W] as [..., C, H r, W r], r the upscale_factor.

    Raises ValueError if the channels cannot be shared out among r^2 pixels.
    """
    r = upscale_factor
    if r < 1 or input.dim() < 3 or input.shape[-3] % (r * r):
        raise ValueError(
            f"input has shape {list(input.shape)} and upscale_factor is {r}, expected "
            "[..., C r^2, H, W] and r of at least 1"
        )
    y: Tensor = PixelShuffleFunction.apply(input, r)
    return y
