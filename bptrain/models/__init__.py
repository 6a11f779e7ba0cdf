"""Models and losses: each config class stands beside what it builds."""

from typing import Annotated

from pydantic import Field

from bptrain.models.losses import CrossEntropyConfig, MSEConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.summary import LayerSummary, summarize

ModelConfig = MLPConfig  # a tagged union on `kind` as soon as there is a second one
LossConfig = Annotated[CrossEntropyConfig | MSEConfig, Field(discriminator="kind")]

__all__ = ["LayerSummary", "LossConfig", "ModelConfig", "summarize"]
