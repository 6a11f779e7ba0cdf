"""A config's model at other widths."""

from typing import Any, TypeVar

from pydantic import BaseModel

from bptrain.errors import ConfigKeyError
from bptrain.models.cnn import CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.transformer import TransformerConfig

Model = TypeVar("Model", bound=BaseModel)
NARROWEST = 0.01  # what a cnn's width may be


def at_width(model: Model, factor: float) -> Model:
    """Return the config with the units or channels of its layers times a factor, at least 1 each.

    Raises ConfigKeyError for a model that has no width to change.
    """
    if isinstance(model, MLPConfig) and model.hidden:
        changed: dict[str, Any] = {"hidden": [_scaled(each, factor) for each in model.hidden]}
    elif isinstance(model, RNNConfig):
        sizes = {"hidden": model.hidden, "embedding": model.embedding}
        changed = {key: _scaled(size, factor) for key, size in sizes.items() if size is not None}
    elif isinstance(model, TransformerConfig):
        a_head = model.width // model.heads  # which keeps its size: more heads, not larger ones
        heads = _scaled(model.heads, factor)
        changed = {"heads": heads, "width": heads * a_head}
    elif isinstance(model, CNNConfig):
        changed = {"width": max(NARROWEST, model.width * factor)}
        if model.hidden is not None:
            changed["hidden"] = [_scaled(each, factor) for each in model.hidden]
    else:
        raise ConfigKeyError(
            ("model", "kind"),
            "it has no hidden layers whose width could grow",
            hint="an mlp, cnn or rnn with hidden layers, or a transformer",
        )
    return model.model_copy(update=changed)


def _scaled(size: int, factor: float) -> int:
    return max(1, round(size * factor))
