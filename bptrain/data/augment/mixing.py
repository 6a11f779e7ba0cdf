"""Transforms that mix a sample with another one of its batch, image and class alike.

A target becomes class probabilities [K]. How much is mixed, and with which row of the batch, is a
pure function of (seed, epoch, sample); whose image lies in that row is the batch's doing, so that
here alone a sample depends on the samples beside it.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.augment.erasing import Boxes
from bptrain.data.augment.transform import Images, TransformConfig, each
from bptrain.data.hashed_random import Draws, symmetric_beta, whole

Alpha = Annotated[
    float,
    Field(
        gt=0,
        le=100,
        description="of Beta(alpha, alpha): small mixes in a little, 1 any share, large about half",
    ),
]


class MixingConfig(TransformConfig):
    """What both share: the sample's own share of Beta(alpha, alpha), another one for each."""

    alpha: Alpha = 1.0
    chance: float = Field(default=1.0, ge=0, le=1, description="share of the samples mixed")

    mixes: ClassVar[bool] = True

    def __call__(
        self, images: Tensor, targets: Tensor, draws: Draws, about: Images
    ) -> tuple[Tensor, Tensor]:
        """Return the images mixed, and the class probabilities [B, K]."""
        uniforms = draws.uniforms(8)
        share = symmetric_beta(self.alpha, uniforms[:, :4])
        share = torch.where(uniforms[:, 4] < self.chance, share, 1.0)
        partners = partner_rows(uniforms[:, 5])
        images, share = self.mixed(images, images[partners], share, uniforms[:, 6:])
        probabilities = as_probabilities(targets, about.classes)
        share = share.to(probabilities.dtype).unsqueeze(1)
        return images, torch.lerp(probabilities[partners], probabilities, share)

    def mixed(
        self, images: Tensor, others: Tensor, share: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the images mixed, and the share [B] of each that is its own.

        share     [B], float64, what is to be its own
        uniforms  [B, 2]
        """
        raise NotImplementedError


class MixupConfig(MixingConfig):
    """Both images laid over each other.

    Source: Zhang et al. 2017, "mixup: beyond empirical risk minimization", equation 1, but with a
    share for each sample.
    """

    kind: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2

    def mixed(
        self, images: Tensor, others: Tensor, share: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return s x + (1 - s) x', and s."""
        return torch.lerp(others, images, each(share.to(images.dtype))), share


class CutMixConfig(MixingConfig):
    """A rectangle of the other image, in its place there; its area is the other's share.

    The rectangle has the image's proportions and its middle anywhere in the image, so that part of
    it may be cut off: what is left counts.

    Source: Yun et al. 2019, "CutMix", equations 1 and 2, but with a rectangle for each sample.
    """

    kind: Literal["cutmix"] = "cutmix"

    def mixed(
        self, images: Tensor, others: Tensor, share: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the images with the other's rectangle, and the share of the area outside it."""
        height, width = images.shape[2:]
        boxes = boxes_of(share, uniforms, height, width)
        area = (boxes.height * boxes.width).double() / (height * width)
        return torch.where(boxes.mask(height, width), others, images), 1 - area


def boxes_of(share: Tensor, uniforms: Tensor, height: int, width: int) -> Boxes:
    """Return a rectangle around a place for each sample that leaves `share` [B], then cut off."""
    side = (1 - share).clamp(min=0).sqrt()
    ends = []
    for size, middle in ((height, uniforms[:, 0]), (width, uniforms[:, 1])):
        half, place = (side * size).long() // 2, whole(middle, size)
        ends.append(((place - half).clamp(0, size), (place + half).clamp(0, size)))
    (top, bottom), (left, right) = ends
    return Boxes(top, left, bottom - top, right - left)


def partner_rows(uniform: Tensor) -> Tensor:
    """Return for each row [B] another row of the batch; for a batch of one, itself."""
    rows = len(uniform)
    steps = 1 + whole(uniform, max(rows - 1, 1))
    return (torch.arange(rows, device=uniform.device) + steps) % rows


def as_probabilities(targets: Tensor, classes: int) -> Tensor:
    """Return classes [B] as probabilities [B, K], float32; probabilities stay what they are."""
    if targets.is_floating_point():
        return targets
    probabilities = torch.zeros(len(targets), classes, device=targets.device)
    return probabilities.scatter_(1, targets.unsqueeze(1), 1)
