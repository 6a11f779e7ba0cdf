"""Transforms that move pixels: mirror, shift, turn.

What comes into view from outside an image is black, as it is where pixels are padded before they
are standardized.
"""

from math import radians
from typing import Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bptrain.data.augment.transform import Images, TransformConfig, by_channel, each
from bptrain.data.hashed_random import Draws, whole

Border: TypeAlias = Literal["black", "edge", "reflect"]


class FlipConfig(TransformConfig):
    """A mirror image."""

    kind: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical"] = Field(
        default="horizontal", description="horizontal swaps left and right, vertical top and bottom"
    )
    chance: float = Field(default=0.5, ge=0, le=1, description="share of the images mirrored")

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images, some of them mirrored."""
        mirrored = images.flip(3 if self.direction == "horizontal" else 2)
        return torch.where(each(draws.uniforms(1) < self.chance), mirrored, images)


class CropConfig(TransformConfig):
    """A window of the image's own size out of the padded image: a shift by whole pixels."""

    kind: Literal["crop"] = "crop"
    padding: int = Field(default=4, ge=1, le=1024, description="pixels added on each side")
    border: Border = Field(
        default="black", description="what is added: black, the edge repeated, or a reflection"
    )

    def refusal(self, about: Images) -> str:
        """Refuse to shift an image out of sight."""
        side = min(about.shape[1:])
        too_wide = self.padding >= side
        return f"a padding of {self.padding} pixels, images of {side} a side" if too_wide else ""

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images shifted."""
        top, left = whole(draws.uniforms(2), 2 * self.padding + 1).unbind(1)
        black = by_channel(about.black, images.device)
        return shifted(images, top - self.padding, left - self.padding, self.border, black)


class RotationConfig(TransformConfig):
    """A turn about the image's middle, its pixels interpolated between the nearest four."""

    kind: Literal["rotation"] = "rotation"
    degrees: float = Field(default=10, gt=0, le=180, description="the largest turn, either way")

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images turned."""
        angle = radians(self.degrees) * (2 * draws.uniforms(1)[:, 0] - 1)
        return turned(images, angle, by_channel(about.black, images.device))


def shifted(images: Tensor, down: Tensor, right: Tensor, border: Border, black: Tensor) -> Tensor:
    """Return the images seen through a window that is moved by whole pixels.

    down, right  of each sample [B], each less than the image's size: the window's shift
    black        [C, 1, 1]
    """
    samples, channels, height, width = images.shape
    y, y_inside = _places(down, height, border)
    x, x_inside = _places(right, width, border)
    rows = y.view(samples, 1, height, 1).expand(samples, channels, height, width)
    columns = x.view(samples, 1, 1, width).expand(samples, channels, height, width)
    moved = images.gather(2, rows).gather(3, columns)
    if border != "black":
        return moved
    inside = y_inside.view(samples, 1, height, 1) & x_inside.view(samples, 1, 1, width)
    return torch.where(inside, moved, black)


def _places(shift: Tensor, size: int, border: Border) -> tuple[Tensor, Tensor]:
    """Return which pixel of an axis is seen at each place [B, size], and whether it is one."""
    places = torch.arange(size, device=shift.device) + shift.unsqueeze(1)
    last = size - 1
    inside = (places >= 0) & (places <= last)
    if border == "reflect":  # about the outermost pixel, which is not repeated
        return last - (last - places.abs()).abs(), inside
    return places.clamp(0, last), inside


def turned(images: Tensor, angle: Tensor, black: Tensor) -> Tensor:
    """Return the images turned counterclockwise by an angle [B] in radians.

    A place (x, y) of the result, y pointing down, shows what lay at

        x cos a - y sin a,  x sin a + y cos a

    where black is subtracted and added again, for grid_sample takes what lies outside for 0.
    """
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device).view(-1, 1) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    # grid_sample counts from -1 to 1 across the image
    places = [(x * cos - y * sin) / (width / 2), (x * sin + y * cos) / (height / 2)]
    grid = torch.stack(places, 3)
    return functional.grid_sample(images - black, grid, align_corners=False).add_(black)
