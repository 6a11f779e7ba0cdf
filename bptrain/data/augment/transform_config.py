"""The interface of the transforms, and what they know of a data set's images."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.data.hashed_random import Draws


@dataclass(frozen=True)
class ImageInfo:
    """Properties of a data set's standardized images.

    black, white  the standardized values of the darkest and the brightest pixel, by channel
    """

    shape: tuple[int, int, int]  # C, H, W
    classes: int
    black: tuple[float, ...]
    white: tuple[float, ...]


@cache
def per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a value for each channel [C, 1, 1]; cached, as a copy to a GPU would wait."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


class TransformConfig(StrictConfig):
    """A random transform of training images, drawn for each sample and epoch.

    mixes  whether it turns classes into class probabilities
    """

    kind: str = ""
    mixes: ClassVar[bool] = False

    def refusal(self, info: ImageInfo) -> str:
        """Return why the transform does not suit these images, or ""."""
        return ""

    def __call__(
        self, images: Tensor, targets: Tensor, draws: Draws, info: ImageInfo
    ) -> tuple[Tensor, Tensor]:
        """Return the transformed images [B, C, H, W] and targets; the given ones do not change."""
        return self.transformed(images, draws, info), targets

    def transformed(self, images: Tensor, draws: Draws, info: ImageInfo) -> Tensor:
        """Return the transformed images."""
        raise NotImplementedError


def per_sample(values: Tensor) -> Tensor:
    """Return a value for each sample [B] as [B, 1, 1, 1], which broadcasts over images."""
    return values.view(-1, 1, 1, 1)
