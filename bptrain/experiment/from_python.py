"""`bptrain.fit` and `bptrain.load`: what the commands do, in a program of one's own."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from bptrain.config import config_of, load_config, naming_lines
from bptrain.experiment.best_state import best_by
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan, resolve_device
from bptrain.experiment.saved_run import (
    Choice,
    choose_checkpoint,
    load_model,
    read_config,
    restore,
)
from bptrain.experiment.training import run
from bptrain.rundir.prepared import read_prepared
from bptrain.train.memory import allocating
from bptrain.train.signals import StopRequest

File = str | PathLike[str]


def fit(
    config: File | Mapping[str, Any],
    overrides: Sequence[str] = (),
    run_dir: File | None = None,
) -> Path:
    """Train an experiment as `bptrain fit` does, and return the run's folder.

    config     a config file, or the same keys as a mapping
    overrides  `key.path=value` words
    run_dir    the run's folder, in place of runs/NAME

    Prints the lines of progress, and seeds torch's random generators. Raises the command's errors
    (`bptrain.errors`). Ctrl-C raises KeyboardInterrupt; `bptrain fit --resume` resumes from the
    newest checkpoint.
    """
    if isinstance(config, Mapping):
        return _trained(config_of(ExperimentConfig, config, overrides), run_dir)
    with naming_lines(config, overrides):
        return _trained(load_config(ExperimentConfig, config, overrides), run_dir)


def _trained(config: ExperimentConfig, run_dir: File | None) -> Path:
    chosen = None if run_dir is None else Path(run_dir)
    return run(plan(config), chosen, Console(markup=False, emoji=False), StopRequest())


def load(run_dir: File, checkpoint: Choice = "best", device: str | None = None) -> nn.Module:
    """Return the trained model of a run in evaluation mode.

    checkpoint  which state: best or last
    device      in place of the config's, such as "cpu"

    Raises UsageError for a folder without a run, CheckpointError for a damaged one.
    """
    folder = Path(run_dir)
    config = read_config(folder)
    problem, _ = read_prepared(folder)
    path = choose_checkpoint(folder, checkpoint, best_by(config, problem))
    with allocating():
        model = restore(config, problem, 0, resolve_device(device or config.device))
        load_model(model, path)
    return model
