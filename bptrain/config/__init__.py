"""Strict configuration: read from YAML with every error at once, written back, explained."""

from bptrain.config.strict import (
    ConfigErrors,
    StrictConfig,
    config_of,
    config_of_text,
    json_schema,
    load_config,
    naming_lines,
    override_words,
    starter,
    to_yaml,
)

__all__ = [
    "ConfigErrors",
    "StrictConfig",
    "config_of",
    "config_of_text",
    "json_schema",
    "load_config",
    "naming_lines",
    "override_words",
    "starter",
    "to_yaml",
]
