"""`init`: a small config for a kind of model, ready to run without a download."""

from bptrain.config import starter
from bptrain.data.images.digits import DigitsConfig
from bptrain.experiment.config import ExperimentConfig
from bptrain.models import ModelConfig
from bptrain.models.cnn import OWN_STAGES, CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.sequential import SequentialConfig

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


def print_starter_config(kind: str) -> None:
    """Print a commented starter config, headed by the comment that gives editors its schema."""
    print(FOR_EDITORS + starter(starter_config(kind)), end="")


def starter_config(kind: str) -> ExperimentConfig:
    """Return a small config for a kind of model, ready to run without a download."""
    models: dict[str, ModelConfig] = {
        "mlp": MLPConfig(),
        "cnn": CNNConfig(stages=OWN_STAGES),
        "rnn": RNNConfig(init="orthogonal"),
        "sequential": SequentialConfig(layers=STARTING_LAYERS),
    }
    return ExperimentConfig(name=f"my-{kind}", data=DigitsConfig(), model=models[kind])
