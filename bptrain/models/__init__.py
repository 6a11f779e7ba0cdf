"""Models and losses: each config class stands beside what it builds."""

from typing import Annotated

from pydantic import Field

from bptrain.models.cnn import CNNConfig
from bptrain.models.losses import (
    BCEWithLogitsConfig,
    CrossEntropyConfig,
    CTCConfig,
    HuberConfig,
    L1Config,
    MSEConfig,
    SmoothL1Config,
)
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.sequential import SequentialConfig
from bptrain.models.summary import LayerSummary, summarize

ModelConfig = Annotated[
    MLPConfig | CNNConfig | RNNConfig | SequentialConfig, Field(discriminator="kind")
]
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

__all__ = ["LayerSummary", "LossConfig", "ModelConfig", "summarize"]
