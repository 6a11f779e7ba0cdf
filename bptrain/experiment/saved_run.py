"""Read a run from its folder: its config, and a checkpoint's weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import nn

from bptrain.config import ConfigErrors, load_config
from bptrain.errors import CheckpointError, UsageError, shorten
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.stored_config import PLACE_OF_DATA, edited, refuse_edited_config
from bptrain.problem import Problem
from bptrain.rundir.checkpoint import by_metric, last_first, read_checkpoint
from bptrain.rundir.prepared import read_stored
from bptrain.rundir.run_directory import holds_run
from bptrain.stateful import mapping
from bptrain.tags import BY_LOSS, Ranking
from bptrain.train.memory import MemoryEstimate, refuse_if_too_large
from bptrain.train.states import refuse_other_tensors

CHECKPOINTS = "checkpoints"

Choice: TypeAlias = Literal["best", "last"]


def read_config(run_dir: Path, data: Sequence[str] = ()) -> ExperimentConfig:
    """Return the resolved config of a run, as the run was trained with it.

    data  `key=value` words that say where its data lies now

    Raises UsageError if the folder holds no run or a word says something else, CheckpointError if
    the config is another than the run stored.
    """
    path = run_dir / "config.yaml"
    if not holds_run(run_dir):
        raise UsageError(f"{run_dir}: not a run directory", "it has no config.yaml")
    try:
        config = load_config(ExperimentConfig, path)
    except ConfigErrors as error:
        raise edited(path, f"it is no config: {' '.join(error.reports[0].split())}") from error
    refuse_edited_config(path, config, read_stored(run_dir).config)
    for word in data:
        if not PLACE_OF_DATA.fullmatch(f"data.{word.partition('=')[0]}"):
            raise UsageError(
                f"--data {shorten(word, 80)}: it takes where the data lies",
                "the model and its metrics depend on every other key",
                "root=DIR, path=FILE, workers=N or memory_bytes=N",
            )
    return load_config(ExperimentConfig, path, [f"data.{word}" for word in data])


def choose_checkpoint(run_dir: Path, which: Choice, ranking: Ranking = BY_LOSS) -> Path:
    """Return the folder of a run's best or last checkpoint.

    ranking  what the best one is the best by

    Raises CheckpointError if one of the candidates is damaged, instead of silently using another.
    """
    if which == "last":
        return last_first(run_dir / CHECKPOINTS)[0]
    paths, damaged = by_metric(run_dir / CHECKPOINTS, ranking)
    if damaged:
        raise damaged[0]
    return paths[0]


def restore(
    config: ExperimentConfig, problem: Problem, data_bytes: int, device: torch.device
) -> nn.Module:
    """Return the model of the config, its weights still to be loaded, if it fits in memory."""
    described = config.model.build(problem, torch.device("meta"))
    weights = sum(each.nbytes for each in described.state_dict().values())
    refuse_if_too_large(MemoryEstimate(weights, 0, 0, 0, data_bytes), device)
    return config.model.build(problem, torch.device("cpu")).to(device).eval()


def load_model(model: nn.Module, checkpoint: Path) -> None:
    """Load a checkpoint's weights, the averaged ones of a run that averages them.

    Raises CheckpointError if they do not fit the model.
    """
    state = read_checkpoint(checkpoint)
    try:
        average = state.states.get("average")
        weights = state.model if average is None else mapping(average)["tensors"]
        refuse_other_tensors(weights, model.state_dict())
        model.load_state_dict(weights)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint}: holds another model than the run's config.yaml",
            shorten(str(error)),
            "restore the config.yaml the run was trained with",
        ) from error
