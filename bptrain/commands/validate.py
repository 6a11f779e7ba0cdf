"""`validate`: check a config, or print the JSON Schema of all configs."""

import json
from pathlib import Path

from bptrain.config import json_schema, load_config
from bptrain.errors import printable
from bptrain.experiment.config import ExperimentConfig


def validate(config: Path, overrides: list[str]) -> None:
    """Say that a config is valid, or raise ConfigError with every error in it."""
    load_config(ExperimentConfig, config, overrides)
    print(printable(f"{config}: valid"))


def print_schema() -> None:
    """Print the JSON Schema that editors complete and check configs by."""
    print(json.dumps(json_schema(ExperimentConfig), indent=2))
