"""Augmentation: random transforms of training images, a whole batch at a time on its device.

A transform's parameters are a pure function of (seed, epoch, sample, its position in the list). It
receives standardized images. Validation and test images are never changed.
"""

from typing import Annotated

from pydantic import Field

from bptrain.data.augment.color import ColorJitterConfig, NoiseConfig
from bptrain.data.augment.erasing import ErasingConfig
from bptrain.data.augment.geometry import CropConfig, FlipConfig, RotationConfig
from bptrain.data.augment.mixing import CutMixConfig, MixupConfig

Transform = Annotated[
    FlipConfig
    | CropConfig
    | RotationConfig
    | ColorJitterConfig
    | ErasingConfig
    | NoiseConfig
    | MixupConfig
    | CutMixConfig,
    Field(discriminator="kind"),
]

__all__ = ["Transform"]
