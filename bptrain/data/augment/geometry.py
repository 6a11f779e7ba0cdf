"""Transforms that move pixels: flip, crop, rotation.

Pixels from outside an image are black, as with padding before standardization.
"""

from math import radians
from typing import Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bptrain.data.augment.transform_config import (
    ImageInfo,
    TransformConfig,
    per_channel,
    per_sample,
)
from bptrain.data.hashed_random import Draws, whole

Border: TypeAlias = Literal["black", "edge", "reflect"]


class FlipConfig(TransformConfig):
    """Random flip."""

    kind: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical"] = Field(
        default="horizontal",
        description="horizontal swaps left and right, vertical swaps top and bottom",
    )
    probability: float = Field(
        default=0.5, ge=0, le=1, description="probability that an image is flipped"
    )

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the images, some of them flipped."""
        flipped = images.flip(3 if self.direction == "horizontal" else 2)
        return torch.where(per_sample(draws.uniforms(1) < self.probability), flipped, images)


class CropConfig(TransformConfig):
    """Random crop of the padded image to its own size: a shift by whole pixels."""

    kind: Literal["crop"] = "crop"
    padding: int = Field(
        default=4,
        ge=1,
        le=1024,
        description="pixels added on each side, which is also the largest shift; less than the "
        "image's size",
    )
    border: Border = Field(
        default="black",
        description="what the image is padded with: black, its edge pixels repeated, or its "
        "reflection",
    )

    def refusal(self, info: ImageInfo) -> str:
        """Refuse to shift an image by its whole size."""
        side = min(info.shape[1:])
        too_wide = self.padding >= side
        return f"padding of {self.padding} pixels, images of {side} pixels" if too_wide else ""

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the images shifted."""
        top, left = whole(draws.uniforms(2), 2 * self.padding + 1).unbind(1)
        black = per_channel(info.black, images.device)
        return shifted(images, top - self.padding, left - self.padding, self.border, black)


class RotationConfig(TransformConfig):
    """Random rotation about the image's center, with bilinear interpolation."""

    kind: Literal["rotation"] = "rotation"
    degrees: float = Field(
        default=10,
        gt=0,
        le=180,
        description="largest angle: angles are uniform between -degrees and degrees",
    )

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the rotated images."""
        angle = radians(self.degrees) * (2 * draws.uniforms(1)[:, 0] - 1)
        return rotated(images, angle, per_channel(info.black, images.device))


def shifted(images: Tensor, down: Tensor, right: Tensor, border: Border, black: Tensor) -> Tensor:
    """Return the images as seen through a window that is shifted by whole pixels.

    down, right  the shift of each sample [B], less than the image's size
    black        [C, 1, 1]
    """
    samples, channels, height, width = images.shape
    y, y_inside = _positions(down, height, border)
    x, x_inside = _positions(right, width, border)
    rows = y.view(samples, 1, height, 1).expand(samples, channels, height, width)
    columns = x.view(samples, 1, 1, width).expand(samples, channels, height, width)
    moved = images.gather(2, rows).gather(3, columns)
    if border != "black":
        return moved
    inside = y_inside.view(samples, 1, height, 1) & x_inside.view(samples, 1, 1, width)
    return torch.where(inside, moved, black)


def _positions(shift: Tensor, size: int, border: Border) -> tuple[Tensor, Tensor]:
    """Return the source index along an axis [B, size], and whether it is inside the image."""
    positions = torch.arange(size, device=shift.device) + shift.unsqueeze(1)
    last = size - 1
    inside = (positions >= 0) & (positions <= last)
    if border == "reflect":  # about the outermost pixel, which is not repeated
        return last - (last - positions.abs()).abs(), inside
    return positions.clamp(0, last), inside


def rotated(images: Tensor, angle: Tensor, black: Tensor) -> Tensor:
    """Return the images rotated counterclockwise by an angle [B] in radians.

    The pixel (x, y) of the result, y pointing down, is the input at

        x cos a - y sin a,  x sin a + y cos a

    Black is subtracted and added again, as grid_sample pads with 0.
    """
    height, width = images.shape[2:]
    y = torch.arange(height, device=images.device).view(-1, 1) - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    # grid_sample's coordinates run from -1 to 1 across the image
    coordinates = [(x * cos - y * sin) / (width / 2), (x * sin + y * cos) / (height / 2)]
    grid = torch.stack(coordinates, 3)
    return functional.grid_sample(images - black, grid, align_corners=False).add_(black)
