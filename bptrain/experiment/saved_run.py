"""Read a run from its folder: its config, and a checkpoint's weights."""

from pathlib import Path
from typing import Literal, TypeAlias

from torch import nn

from bptrain.config import load_config
from bptrain.errors import CheckpointError, UsageError, shorten
from bptrain.experiment.config import ExperimentConfig
from bptrain.rundir.checkpoint import by_loss, last_first, read_checkpoint
from bptrain.stateful import mapping
from bptrain.train.states import refuse_other_tensors

CHECKPOINTS = "checkpoints"

Choice: TypeAlias = Literal["best", "last"]


def read_config(run_dir: Path) -> ExperimentConfig:
    """Return the resolved config of a run, or raise UsageError if the folder holds no run."""
    if not (run_dir / "config.yaml").is_file():
        raise UsageError(f"{run_dir}: not a run directory", "it has no config.yaml")
    return load_config(ExperimentConfig, run_dir / "config.yaml", [])


def choose_checkpoint(run_dir: Path, which: Choice) -> Path:
    """Return the folder of a run's best or last checkpoint.

    Raises CheckpointError if one of the candidates is damaged, instead of silently using another.
    """
    if which == "last":
        return last_first(run_dir / CHECKPOINTS)[0]
    paths, damaged = by_loss(run_dir / CHECKPOINTS)
    if damaged:
        raise damaged[0]
    return paths[0]


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
