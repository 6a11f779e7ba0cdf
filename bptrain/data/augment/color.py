"""Transforms that change what pixels show and leave them in their places: light, colour, noise."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.augment.transform import Images, TransformConfig, by_channel, each
from bptrain.data.hashed_random import Draws

LUMA = (0.2989, 0.587, 0.114)  # how bright red, green and blue look: ITU-R BT.601, as torchvision
CHANNELS = 3


class ColourJitterConfig(TransformConfig):
    """Brightness, contrast, saturation and hue, in this order.

    A standardized number x means the pixel p = (x - black) / (white - black), from 0 to 1 in each
    channel. With a factor f of each image's own, uniform on 1 - s ... 1 + s but at least 0, where s
    is the strength and grey(p) the weighted sum of the channels:

        brightness  f p                           cut off at 0 and 1, as after each step
        contrast    f p + (1 - f) mean grey(p)    the mean over the image
        saturation  f p + (1 - f) grey(p)
        hue         turned on the colour circle by a share of it, uniform on -s ... s
    """

    kind: Literal["colour_jitter"] = "colour_jitter"
    brightness: float = Field(default=0.2, ge=0, le=10, description="strength; 0 leaves it")
    contrast: float = Field(default=0.2, ge=0, le=10, description="strength; 0 leaves it")
    saturation: float = Field(
        default=0.0, ge=0, le=10, description="strength, of colour images; 0 leaves it"
    )
    hue: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="largest turn, of colour images; 0.5 is half a circle",
    )

    def refusal(self, about: Images) -> str:
        """Refuse to change the colours of grey."""
        needs_colour = self.saturation > 0 or self.hue > 0
        if needs_colour and about.shape[0] != CHANNELS:
            return f"saturation and hue are of colours, images have {about.shape[0]} channel"
        return ""

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images in another light."""
        black, white = (by_channel(v, images.device) for v in (about.black, about.white))
        spread = 2 * draws.uniforms(4) - 1  # [B, 4], uniform on -1 ... 1
        factors = [
            each((1 + strength * spread[:, number]).clamp(min=0))
            for number, strength in enumerate((self.brightness, self.contrast, self.saturation))
        ]
        pixels = (images - black) / (white - black)
        if self.brightness:
            pixels = (factors[0] * pixels).clamp_(0, 1)
        if self.contrast:
            pixels = blended(pixels, grey(pixels).mean((1, 2, 3), keepdim=True), factors[1])
        if self.saturation:
            pixels = blended(pixels, grey(pixels), factors[2])
        if self.hue:
            pixels = hue_turned(pixels, self.hue * spread[:, 3])
        return pixels.mul_(white - black).add_(black)


class NoiseConfig(TransformConfig):
    """Normal noise on every number."""

    kind: Literal["noise"] = "noise"
    deviation: float = Field(
        default=0.1, gt=0, le=100, description="of the noise; that of the images is 1"
    )

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images with noise."""
        noise = draws.normals(images[0].numel()).view(images.shape)
        return torch.add(images, noise, alpha=self.deviation)


def grey(pixels: Tensor) -> Tensor:
    """Return how bright pixels [B, C, H, W] look, [B, 1, H, W]."""
    if pixels.shape[1] != CHANNELS:
        return pixels.mean(1, keepdim=True)
    red, green, blue = pixels.unbind(1)
    seen = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return seen.unsqueeze(1)


def blended(pixels: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """Return f p + (1 - f) o, cut off at 0 and 1."""
    return torch.lerp(others.expand_as(pixels), pixels, factor).clamp_(0, 1)


def hue_turned(pixels: Tensor, turn: Tensor) -> Tensor:
    """Return RGB pixels [B, 3, H, W] with each image's hue turned by a share of the circle [B].

    Of a pixel with the largest value v and the smallest v - c, the hue h in sixths of the circle
    and back from it:

        h = (g - b) / c where red is the largest, 2 + (b - r) / c green, 4 + (r - g) / c blue
        channel = v - c min(k, 4 - k) cut off at 0 and 1,  k = n + h mod 6,  n = 5, 3, 1 for r, g, b

    Source: Smith 1978, "Color gamut transform pairs"; the way back without cases is well known.
    """
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(1)
    chroma = value - pixels.amin(1)
    divisor = torch.where(chroma == 0, 1, chroma)  # grey has no hue: any will do
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = (hue + 6 * turn.view(-1, 1, 1)).unsqueeze(1)  # [B, 1, H, W]
    offsets = by_channel((5.0, 3.0, 1.0), pixels.device)
    k = (hue + offsets).remainder_(6)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * torch.minimum(k, 4 - k).clamp_(0, 1)
