"""Transforms that mix a sample with another one of its batch, both image and class.

A target becomes class probabilities [K]. The weight, and the row of the batch that is mixed in, are
pure functions of (seed, epoch, sample); which sample is in that row depends on the batch.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.augment.erasing import Boxes
from bptrain.data.augment.transform_config import ImageInfo, TransformConfig, per_sample
from bptrain.data.hashed_random import Draws, symmetric_beta, whole

Alpha = Annotated[
    float,
    Field(
        gt=0,
        le=100,
        description="parameter of the Beta(alpha, alpha) distribution of the weights: small values "
        "change images little, 1 draws any weight, large values mix about half and half",
    ),
]


class MixingConfig(TransformConfig):
    """The common part of both: a weight from Beta(alpha, alpha) for each sample."""

    alpha: Alpha = 1.0
    probability: float = Field(
        default=1.0, ge=0, le=1, description="probability that a sample is mixed with another"
    )

    mixes: ClassVar[bool] = True

    def __call__(
        self, images: Tensor, targets: Tensor, draws: Draws, info: ImageInfo
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed images, and the class probabilities [B, K]."""
        uniforms = draws.uniforms(8)
        weight = symmetric_beta(self.alpha, uniforms[:, :4])
        weight = torch.where(uniforms[:, 4] < self.probability, weight, 1.0)
        partners = partner_rows(uniforms[:, 5])
        images, weight = self.mixed(images, images[partners], weight, uniforms[:, 6:])
        probabilities = as_probabilities(targets, info.classes)
        weight = weight.to(probabilities.dtype).unsqueeze(1)
        return images, torch.lerp(probabilities[partners], probabilities, weight)

    def mixed(
        self, images: Tensor, others: Tensor, weight: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed images, and the weight [B] of each sample's own image.

        weight    [B], float64, drawn for the sample's own image
        uniforms  [B, 2]
        """
        raise NotImplementedError


class MixupConfig(MixingConfig):
    """Mixup: the weighted mean of two images, and of their classes.

    Source: Zhang et al. 2017, "mixup: beyond empirical risk minimization", equation 1, but with a
    weight for each sample.
    """

    kind: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2

    def mixed(
        self, images: Tensor, others: Tensor, weight: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return w x + (1 - w) x', and w."""
        return torch.lerp(others, images, per_sample(weight.to(images.dtype))), weight


class CutMixConfig(MixingConfig):
    """CutMix: a rectangle of another image is pasted in; its area weights the other's class.

    The rectangle has the image's proportions and its center anywhere in the image; the part inside
    the image counts.

    Source: Yun et al. 2019, "CutMix", equations 1 and 2, but with a rectangle for each sample.
    """

    kind: Literal["cutmix"] = "cutmix"

    def mixed(
        self, images: Tensor, others: Tensor, weight: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the images with the others' rectangles, and the fraction of area outside."""
        height, width = images.shape[2:]
        boxes = boxes_of(weight, uniforms, height, width)
        area = (boxes.height * boxes.width).double() / (height * width)
        return torch.where(boxes.mask(height, width), others, images), 1 - area


def boxes_of(weight: Tensor, uniforms: Tensor, height: int, width: int) -> Boxes:
    """Return a rectangle for each sample that leaves the fraction `weight` [B], then clipped."""
    side = (1 - weight).clamp(min=0).sqrt()
    ends = []
    for size, uniform in ((height, uniforms[:, 0]), (width, uniforms[:, 1])):
        half, center = (side * size).long() // 2, whole(uniform, size)
        ends.append(((center - half).clamp(0, size), (center + half).clamp(0, size)))
    (top, bottom), (left, right) = ends
    return Boxes(top, left, bottom - top, right - left)


def partner_rows(uniform: Tensor) -> Tensor:
    """Return another row of the batch for each row [B]; the row itself in a batch of one."""
    rows = len(uniform)
    steps = 1 + whole(uniform, max(rows - 1, 1))
    return (torch.arange(rows, device=uniform.device) + steps) % rows


def as_probabilities(targets: Tensor, classes: int) -> Tensor:
    """Return classes [B] as probabilities [B, K], float32; probabilities stay unchanged."""
    if targets.is_floating_point():
        return targets
    probabilities = torch.zeros(len(targets), classes, device=targets.device)
    return probabilities.scatter_(1, targets.unsqueeze(1), 1)
