"""Random erasing: a rectangle of the image is replaced, so that a model uses other parts too.

Source  Zhong et al. 2017, "Random erasing data augmentation", algorithm 1; the bounds and the ten
        attempts are torchvision's
"""

from math import log, prod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.data.augment.transform_config import (
    ImageInfo,
    TransformConfig,
    per_channel,
    per_sample,
)
from bptrain.data.hashed_random import Draws, whole

ATTEMPTS = 10  # to draw a rectangle that fits; if none does, the image stays unchanged

Fraction = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=1000)]


class Boxes(NamedTuple):
    """A rectangle for each sample, [B] each, in pixels; it may be empty."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def mask(self, height: int, width: int) -> Tensor:
        """Return a mask of the pixels inside the rectangles [B, 1, height, width]."""
        rows = _between(self.top, self.height, height)
        columns = _between(self.left, self.width, width)
        return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def _between(start: Tensor, size: Tensor, length: int) -> Tensor:
    axis = torch.arange(length, device=start.device)
    start = start.unsqueeze(1)
    return (axis >= start) & (axis < start + size.unsqueeze(1))


class ErasingConfig(TransformConfig):
    """Random erasing: replaces a rectangle of random area and aspect ratio."""

    kind: Literal["erasing"] = "erasing"
    probability: float = Field(
        default=0.5, ge=0, le=1, description="probability that an image is changed"
    )
    area: tuple[Fraction, Fraction] = Field(
        default=(0.02, 0.33),
        description="smallest and largest area of the rectangle, as a fraction of the image; drawn "
        "uniformly",
    )
    ratio: tuple[Ratio, Ratio] = Field(
        default=(0.3, 3.3),
        description="smallest and largest ratio of height to width; drawn uniformly on a "
        "logarithmic scale",
    )
    fill: Literal["mean", "black", "noise"] = Field(
        default="mean",
        description="what replaces the rectangle: the training images' mean, black, or Gaussian "
        "noise with their mean and standard deviation",
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "ErasingConfig":
        for name, (low, high) in (("area", self.area), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: the smallest, {low}, is above the largest, {high}")
        return self

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the images, some of them with a rectangle replaced."""
        uniforms = draws.uniforms(1 + 4 * ATTEMPTS)
        boxes = self.boxes(uniforms[:, 1:], *images.shape[2:])
        erased = boxes.mask(*images.shape[2:]) & per_sample(uniforms[:, 0] < self.probability)
        if self.fill == "noise":
            noise = draws.normals(prod(images.shape[1:]), start=1 + 4 * ATTEMPTS)
            return torch.where(erased, noise.view(images.shape), images)
        if self.fill == "black":
            return torch.where(erased, per_channel(info.black, images.device), images)
        return images.masked_fill(erased, 0)  # the standardized mean

    def boxes(self, uniforms: Tensor, height: int, width: int) -> Boxes:
        """Return the first of ten rectangles that fits, or an empty one; uniforms [B, 40]."""
        area, ratio, top, left = uniforms.view(-1, 4, ATTEMPTS).unbind(1)
        pixels = height * width * (self.area[0] + (self.area[1] - self.area[0]) * area)
        low, high = (log(bound) for bound in self.ratio)
        ratio = (low + (high - low) * ratio).exp()
        heights = (pixels * ratio).sqrt().round().long()
        widths = (pixels / ratio).sqrt().round().long()
        fits = (heights < height) & (widths < width)  # [B, 10]
        first = fits.int().argmax(1, keepdim=True)
        any_fits = fits.any(1).long()
        h, w, y, x = (draw.gather(1, first)[:, 0] for draw in (heights, widths, top, left))
        h, w = h * any_fits, w * any_fits
        return Boxes(whole(y, height - h + 1), whole(x, width - w + 1), h, w)
