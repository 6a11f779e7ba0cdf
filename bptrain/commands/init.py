"""`init`: a config to start from, for a kind of model or data, or for data of a user's own."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bptrain.commands.arguments import DATA_KINDS, MODEL_KINDS
from bptrain.config import config_of, starter
from bptrain.config.paths import located
from bptrain.data.data_file import exists, missing
from bptrain.errors import UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.models import ModelConfig
from bptrain.models.cnn import OWN_STAGES, CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.pretrained import PretrainedConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.sequential import SequentialConfig
from bptrain.models.transformer import TransformerConfig

SCHEMA_FILE = "bptrain.schema.json"
FOR_EDITORS = f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# For completion and checks in editors, write this file:
# bptrain validate --schema > {SCHEMA_FILE}

"""
STARTING_LAYERS = [
    {"Conv2d": {"out_channels": 32, "kernel_size": 3, "padding": 1}},
    "BatchNorm2d",
    "ReLU",
    {"MaxPool2d": 2},
    {"residual": [{"Conv2d": {"out_channels": 32, "kernel_size": 3, "padding": 1}}, "ReLU"]},
    {"AdaptiveAvgPool2d": 1},
    "Flatten",
    {"Linear": 10},
]


# of the keys that a kind of data cannot do without
PLACEHOLDERS: dict[str, dict[str, Any]] = {
    "table": {"path": "table.csv", "target": "target"},
    "sequence": {"path": "sequences.npz"},
    "image_folder": {"root": "images"},
    "image_table": {"path": "labels.csv"},
    "text": {"path": "text.txt"},
    "text_table": {"path": "texts.csv"},
    "text_folder": {"root": "texts"},
    "audio_folder": {"path": "recordings"},
}
OF_VECTORS = ("table", "xor", "spirals")
OF_LARGE_IMAGES = ("cifar10", "cifar100", "image_folder", "image_table")  # 32 pixels or more
OF_SEQUENCES = ("sequence", "text", "text_table", "text_folder", "adding", "copy", "parity")
READ_BY = {  # the models that can be asked for
    "pretrained": OF_LARGE_IMAGES,
    "transformer": tuple(kind for kind in DATA_KINDS if kind not in OF_VECTORS),
}


def print_config(kind_or_path: str, target: str | None, model: str | None = None) -> None:
    """Print a commented config, headed by the comment that gives editors its schema."""
    print(FOR_EDITORS + config_text(kind_or_path, target, model), end="")


def config_text(kind_or_path: str, target: str | None, model: str | None = None) -> str:
    """Return a commented config for a kind of model or data, or for the data at a path.

    target  the column or array to predict, of data at a path; None to guess it
    model   the kind of model for the data, transformer or pretrained; None for what suits it
    """
    if kind_or_path in (*MODEL_KINDS, *DATA_KINDS):
        if target is not None:
            raise UsageError("--target goes with a PATH", f"{kind_or_path} is a kind")
        if model is not None:
            refuse_model_of_kind(model, kind_or_path)
        return starter(starter_config(kind_or_path, model))
    return config_for(_path_of(kind_or_path), target, model)


def refuse_model_of_kind(model: str, kind: str) -> None:
    """Raise UsageError for a kind of data that a model cannot read, or for a kind of model."""
    if kind in MODEL_KINDS:
        raise UsageError("--model goes with data", f"{kind} is a kind of model")
    if kind not in READ_BY[model]:
        raise UsageError(
            f"--model {model} does not fit data.kind {kind}",
            f"it reads {', '.join(READ_BY[model])}",
            "leave --model out",
        )


def starter_config(kind: str, model_kind: str | None = None) -> ExperimentConfig:
    """Return a small config for a kind of model, or of data: that of a file to be filled in.

    model_kind  for a kind of data, in place of what suits it
    """
    is_model = kind in MODEL_KINDS
    data_kind = "image_folder" if kind == "pretrained" else "digits" if is_model else kind
    models: dict[str, ModelConfig] = {
        "mlp": MLPConfig(),
        "cnn": CNNConfig(stages=OWN_STAGES),
        "rnn": RNNConfig(init="orthogonal"),
        "transformer": TransformerConfig(
            width=64, depth=2, patch=2 if data_kind == "digits" else None
        ),
        "pretrained": PretrainedConfig(freeze="all but head"),
        "sequential": SequentialConfig(layers=STARTING_LAYERS),
    }
    data = {"kind": data_kind, **PLACEHOLDERS.get(data_kind, {})}
    suits = "mlp" if kind in OF_VECTORS else "rnn" if kind in OF_SEQUENCES else "cnn"
    chosen = models[model_kind or (kind if kind in models else suits)]
    name = f"my-{kind}".replace("_", "-")
    tree = {"name": name, "data": data, "model": chosen.model_dump(mode="json")}
    return config_of(ExperimentConfig, tree)


def config_for(path: Path, target: str | None, model: str | None) -> str:
    """Return a commented config for the data at a path."""
    # what reads tables and recordings is imported where there are some
    from bptrain.data.first_look.looking import look_at
    from bptrain.experiment.first_config import first_config

    return first_config(look_at(path, target), path.resolve().stem, model)


def _path_of(word: str) -> Path:
    """Return the path that a word names; raise UsageError for a kind that is misspelled."""
    path = located(word)
    if exists(path):
        return path
    if Path(word).suffix or len(Path(word).parts) > 1:
        raise missing(path, "a kind, or the path of data that is there")
    meant = get_close_matches(word, (*MODEL_KINDS, *DATA_KINDS), n=1)
    raise UsageError(
        f"{word!r} is no kind, and there is no such file or folder",
        f"kinds: {', '.join((*MODEL_KINDS, *DATA_KINDS))}",
        f"did you mean {meant[0]!r}?" if meant else "the path of your data",
    )
