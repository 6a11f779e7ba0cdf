"""The losses: each config class stands beside what it builds."""

from typing import Annotated

from pydantic import Field

from bptrain.losses.losses import (
    BCEWithLogitsConfig,
    CrossEntropyConfig,
    CTCConfig,
    HuberConfig,
    L1Config,
    MSEConfig,
    SmoothL1Config,
)

LossConfig = Annotated[
    CrossEntropyConfig
    | BCEWithLogitsConfig
    | MSEConfig
    | L1Config
    | SmoothL1Config
    | HuberConfig
    | CTCConfig,
    Field(discriminator="kind"),
]

__all__ = ["LossConfig"]
