"""Configs as a program gives them: a file, a mapping, or YAML text, and keywords that change it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from bptrain.api.own_settings import own_settings
from bptrain.config import config_of, config_of_text, load_config, naming_lines, override_words
from bptrain.experiment.config import ExperimentConfig

File: TypeAlias = str | PathLike[str]
Config: TypeAlias = File | Mapping[str, Any] | ExperimentConfig


@contextmanager
def given(
    config: Config, words: Sequence[str], overrides: Mapping[str, Any]
) -> Iterator[ExperimentConfig]:
    """Give a checked config to the block, which computes with torch's settings of a new process.

    An error of the block that names a key is raised with its line, where the config is a file.
    """
    changes = [*words, *override_words(overrides)]
    if isinstance(config, ExperimentConfig):
        config = config.model_dump(mode="json")
    with own_settings():
        if isinstance(config, Mapping):
            yield config_of(ExperimentConfig, config, changes)
        elif is_text(config):
            yield config_of_text(ExperimentConfig, str(config), changes)
        else:
            with naming_lines(config, changes):
                yield load_config(ExperimentConfig, config, changes)


def is_text(config: File) -> bool:
    """Tell whether a config is YAML and not the name of a file: in lines, or in braces."""
    return isinstance(config, str) and ("\n" in config or config.lstrip().startswith("{"))


def console_for(progress: bool) -> Console:
    """Return what shows a function's progress: lines on stdout, also in a notebook, or nothing."""
    return Console(
        markup=False,
        emoji=False,
        quiet=not progress,
        force_jupyter=False,
        force_terminal=None if progress else False,  # no bar, whose thread would draw for nobody
    )


def folder_of(run_dir: File | None) -> Path | None:
    """Return the folder that is named, if one is."""
    return None if run_dir is None else Path(run_dir)
