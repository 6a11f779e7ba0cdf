"""Models: each config class is in the module of the model it builds."""

from typing import Annotated

from pydantic import Field

from bptrain.models.cnn import CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.pretrained import PretrainedConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.sequential import SequentialConfig
from bptrain.models.summary import LayerSummary, summarize
from bptrain.models.transformer import TransformerConfig

ModelConfig = Annotated[
    MLPConfig | CNNConfig | RNNConfig | TransformerConfig | PretrainedConfig | SequentialConfig,
    Field(discriminator="kind"),
]

__all__ = ["LayerSummary", "ModelConfig", "summarize"]
