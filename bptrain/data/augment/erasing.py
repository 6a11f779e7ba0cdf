"""Random erasing: a rectangle of the image is gone, so that a model learns to look elsewhere too.

Source  Zhong et al. 2017, "Random erasing data augmentation", algorithm 1; the bounds and the ten
        attempts are torchvision's
"""

from math import log, prod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.data.augment.transform import Images, TransformConfig, by_channel, each
from bptrain.data.hashed_random import Draws, whole

ATTEMPTS = 10  # at a rectangle that fits: an image that none fits stays as it is

Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0, le=1000)]


class Boxes(NamedTuple):
    """A rectangle for each sample, each [B] in whole pixels; it may be empty."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def mask(self, height: int, width: int) -> Tensor:
        """Return which pixels of images lie in their rectangle, [B, 1, height, width]."""
        rows = _between(self.top, self.height, height)
        columns = _between(self.left, self.width, width)
        return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def _between(start: Tensor, size: Tensor, places: int) -> Tensor:
    axis = torch.arange(places, device=start.device)
    start = start.unsqueeze(1)
    return (axis >= start) & (axis < start + size.unsqueeze(1))


class ErasingConfig(TransformConfig):
    """A rectangle replaced: its area uniform, its ratio of height to width uniform in logarithm."""

    kind: Literal["erasing"] = "erasing"
    chance: float = Field(default=0.5, ge=0, le=1, description="share of the images changed")
    area: tuple[Share, Share] = Field(
        default=(0.02, 0.33), description="smallest and largest share of the image"
    )
    ratio: tuple[Ratio, Ratio] = Field(
        default=(0.3, 3.3), description="smallest and largest height, in widths"
    )
    fill: Literal["mean", "black", "noise"] = Field(
        default="mean", description="the training images' mean, black, or normal noise like them"
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "ErasingConfig":
        for name, (low, high) in (("area", self.area), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name} runs from {low} down to {high}")
        return self

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images, some of them with a rectangle replaced."""
        uniforms = draws.uniforms(1 + 4 * ATTEMPTS)
        boxes = self.boxes(uniforms[:, 1:], *images.shape[2:])
        hidden = boxes.mask(*images.shape[2:]) & each(uniforms[:, 0] < self.chance)
        if self.fill == "noise":
            noise = draws.normals(prod(images.shape[1:]), start=1 + 4 * ATTEMPTS)
            return torch.where(hidden, noise.view(images.shape), images)
        if self.fill == "black":
            return torch.where(hidden, by_channel(about.black, images.device), images)
        return images.masked_fill(hidden, 0)  # what standardization makes of the mean

    def boxes(self, uniforms: Tensor, height: int, width: int) -> Boxes:
        """Return the first of ten rectangles that fits, else an empty one; uniforms [B, 40]."""
        area, ratio, top, left = uniforms.view(-1, 4, ATTEMPTS).unbind(1)
        pixels = height * width * (self.area[0] + (self.area[1] - self.area[0]) * area)
        low, high = (log(bound) for bound in self.ratio)
        ratio = (low + (high - low) * ratio).exp()
        heights = (pixels * ratio).sqrt().round().long()
        widths = (pixels / ratio).sqrt().round().long()
        fits = (heights < height) & (widths < width)  # [B, 10]
        first = fits.int().argmax(1, keepdim=True)
        some = fits.any(1).long()
        h, w, y, x = (draw.gather(1, first)[:, 0] for draw in (heights, widths, top, left))
        h, w = h * some, w * some
        return Boxes(whole(y, height - h + 1), whole(x, width - w + 1), h, w)
