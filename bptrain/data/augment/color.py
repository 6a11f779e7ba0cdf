"""Transforms of pixel values: brightness, contrast, color, noise."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.augment.transform_config import (
    ImageInfo,
    TransformConfig,
    per_channel,
    per_sample,
)
from bptrain.data.hashed_random import Draws

LUMA = (0.2989, 0.587, 0.114)  # luminance of red, green and blue: ITU-R BT.601, as torchvision
CHANNELS = 3


class ColorJitterConfig(TransformConfig):
    """Random changes of brightness, contrast, saturation and hue, in this order.

    A standardized value x is the pixel p = (x - black) / (white - black), from 0 to 1 in each
    channel. With a factor f for each image, uniform on 1 - s ... 1 + s but at least 0, where s is
    the strength, and gray(p) the weighted sum of the channels:

        brightness  f p                           clipped to 0 ... 1, as after each step
        contrast    f p + (1 - f) mean gray(p)    the mean over the image
        saturation  f p + (1 - f) gray(p)
        hue         shifted by a fraction of the color circle, uniform on -s ... s
    """

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="strength s: brightness is multiplied by a factor from 1 - s to 1 + s; 0 for "
        "no change",
    )
    contrast: float = Field(
        default=0.2,
        ge=0,
        le=10,
        description="strength s: contrast is multiplied by a factor from 1 - s to 1 + s; 0 for no "
        "change",
    )
    saturation: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="strength s, for RGB images: saturation is multiplied by a factor from 1 - s "
        "to 1 + s; 0 for no change",
    )
    hue: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="largest shift, for RGB images, as a fraction of the color circle; 0 for no "
        "change, 0.5 for any hue",
    )

    def refusal(self, info: ImageInfo) -> str:
        """Refuse changes of saturation and hue for grayscale images."""
        needs_color = self.saturation > 0 or self.hue > 0
        if needs_color and info.shape[0] != CHANNELS:
            return f"saturation and hue need RGB images, these have {info.shape[0]} channel"
        return ""

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the images with their colors changed."""
        black, white = (per_channel(v, images.device) for v in (info.black, info.white))
        uniforms = 2 * draws.uniforms(4) - 1  # [B, 4], uniform on -1 ... 1
        factors = [
            per_sample((1 + strength * uniforms[:, number]).clamp(min=0))
            for number, strength in enumerate((self.brightness, self.contrast, self.saturation))
        ]
        pixels = (images - black) / (white - black)
        if self.brightness:
            pixels = (factors[0] * pixels).clamp_(0, 1)
        if self.contrast:
            pixels = blended(pixels, gray(pixels).mean((1, 2, 3), keepdim=True), factors[1])
        if self.saturation:
            pixels = blended(pixels, gray(pixels), factors[2])
        if self.hue:
            pixels = hue_shifted(pixels, self.hue * uniforms[:, 3])
        return pixels.mul_(white - black).add_(black)


class NoiseConfig(TransformConfig):
    """Gaussian noise on every pixel and channel."""

    kind: Literal["noise"] = "noise"
    std: float = Field(
        default=0.1,
        gt=0,
        le=100,
        description="standard deviation of the noise, relative to that of the images, which are "
        "standardized to 1",
    )

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the images with noise."""
        noise = draws.normals(images[0].numel()).view(images.shape)
        return torch.add(images, noise, alpha=self.std)


def gray(pixels: Tensor) -> Tensor:
    """Return the luminance [B, 1, H, W] of pixels [B, C, H, W]."""
    if pixels.shape[1] != CHANNELS:
        return pixels.mean(1, keepdim=True)
    red, green, blue = pixels.unbind(1)
    luminance = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return luminance.unsqueeze(1)


def blended(pixels: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """Return f p + (1 - f) o, clipped to 0 ... 1."""
    return torch.lerp(others.expand_as(pixels), pixels, factor).clamp_(0, 1)


def hue_shifted(pixels: Tensor, shift: Tensor) -> Tensor:
    """Return RGB pixels [B, 3, H, W], each image's hue shifted by a fraction of the circle [B].

    For a pixel with largest value v and smallest value v - c, its hue h in sixths of the circle,
    and the channels from the hue:

        h = (g - b) / c where red is the largest, 2 + (b - r) / c green, 4 + (r - g) / c blue
        channel = v - c min(k, 4 - k) clipped to 0 ... 1,  k = n + h mod 6,  n = 5, 3, 1 for r, g, b

    Source: Smith 1978, "Color gamut transform pairs"; the inverse without cases is well known.
    """
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(1)
    chroma = value - pixels.amin(1)
    divisor = torch.where(chroma == 0, 1, chroma)  # gray has no hue: any value will do
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = (hue + 6 * shift.view(-1, 1, 1)).unsqueeze(1)  # [B, 1, H, W]
    offsets = per_channel((5.0, 3.0, 1.0), pixels.device)
    k = (hue + offsets).remainder_(6)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp_(0, 1)
