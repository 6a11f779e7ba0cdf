"""What the transforms share: what they know of a data set's images, and how they are asked."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.data.hashed_random import Draws


@dataclass(frozen=True)
class Images:
    """What is known of the standardized images of a data set.

    black, white  what the darkest and the brightest pixel have become, in each channel
    """

    shape: tuple[int, int, int]  # C, H, W
    classes: int
    black: tuple[float, ...]
    white: tuple[float, ...]


@cache
def by_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a number for each channel [C, 1, 1]: made once, or every batch would wait for it."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


class TransformConfig(StrictConfig):
    """One change of training images, other numbers for each sample and epoch.

    mixes  whether classes become probabilities of classes
    """

    kind: str = ""
    mixes: ClassVar[bool] = False

    def refusal(self, about: Images) -> str:
        """Say why these images cannot be changed so; "" if they can."""
        return ""

    def __call__(
        self, images: Tensor, targets: Tensor, draws: Draws, about: Images
    ) -> tuple[Tensor, Tensor]:
        """Return the images [B, C, H, W] and targets of a batch changed, the given ones left."""
        return self.changed(images, draws, about), targets

    def changed(self, images: Tensor, draws: Draws, about: Images) -> Tensor:
        """Return the images changed."""
        raise NotImplementedError


def each(values: Tensor) -> Tensor:
    """Return a value for each sample [B] in the form of images, [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
