"""Losses: each config class stands beside what it builds.

Shapes that a loss takes, by task:

    classification  outputs [N, K] against classes [N], or class probabilities [N, K]
    tagging         outputs [N, T, K] against classes [N, T], -100 where a step does not count
    language_model  outputs [N, T, K] against the next tokens [N, T]
    regression      outputs [N, O] against numbers [N, O]
    transcription   outputs [N, T, K] against texts [N, S], frames in use [N], symbols in use [N]
"""

from typing import Annotated

from pydantic import Field

from bptrain.losses.absolute_error import HuberConfig, L1Config, SmoothL1Config
from bptrain.losses.bce_with_logits import BCEWithLogitsConfig
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.losses.ctc import CTCConfig
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.losses.squared_error import MSEConfig

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
LOSSES: dict[str, type[BaseLossConfig]] = {
    "cross_entropy": CrossEntropyConfig,
    "bce_with_logits": BCEWithLogitsConfig,
    "mse": MSEConfig,
    "l1": L1Config,
    "smooth_l1": SmoothL1Config,
    "huber": HuberConfig,
    "ctc": CTCConfig,
}

__all__ = ["LOSSES", "BaseLossConfig", "LossConfig"]
