"""Augmentation: training images changed on their device, other ways for each sample and epoch.

A transform draws its parameters per sample as a pure function of (seed, epoch, sample, its place in
the list) and changes the batch at once. Images are standardized before; validation and test images
are never changed.
"""

from typing import Annotated

from pydantic import Field

from bptrain.data.augment.color import ColourJitterConfig, NoiseConfig
from bptrain.data.augment.erasing import ErasingConfig
from bptrain.data.augment.geometry import CropConfig, FlipConfig, RotationConfig
from bptrain.data.augment.mixing import CutMixConfig, MixupConfig

Transform = Annotated[
    FlipConfig
    | CropConfig
    | RotationConfig
    | ColourJitterConfig
    | ErasingConfig
    | NoiseConfig
    | MixupConfig
    | CutMixConfig,
    Field(discriminator="kind"),
]

__all__ = ["Transform"]
