"""`import`: a run that starts from the weights of another program."""

from pathlib import Path

from rich.console import Console
from torch import nn

from bptrain.errors import CheckpointError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.foreign_weights import Match, load_matched, match
from bptrain.experiment.state_dict_file import read_foreign
from bptrain.experiment.training import begin_run
from bptrain.train.memory import allocating
from bptrain.train.signals import StopRequest


def import_weights(
    path: Path,
    config: ExperimentConfig,
    run_dir: Path | None,
    partial: bool,
    console: Console,
    stop: StopRequest,
) -> Path:
    """Begin a run of a config whose first state has the weights in a file; return its folder.

    partial  takes what fits, and leaves the other weights as the config initializes them

    Raises CheckpointError for a file that cannot be read or does not fit the config's model.
    """

    def load(model: nn.Module) -> None:
        matched = match(given, model)
        for line in matched.lines():
            console.print(line, highlight=False, soft_wrap=True)
        refuse_misfit(path, matched, partial)
        load_matched(model, matched)
        console.print(f"{len(matched.taken):,} tensors taken from {path}", highlight=False)

    with allocating():
        given = read_foreign(path)
        written = begin_run(plan_for_training(config), load, run_dir, console, stop)
    console.print(
        f"run directory {written}: `bptrain evaluate {written}` evaluates it, "
        f"`bptrain fit CONFIG --resume --run-dir {written}` trains it",
        highlight=False,
        soft_wrap=True,
    )
    return written


def refuse_misfit(path: Path, matched: Match, partial: bool) -> None:
    """Raise CheckpointError for weights that do not fit the model, or of which none does."""
    if matched.fits:
        return
    if not matched.taken:
        raise CheckpointError(
            f"{path}: none of its tensors fits the config's model",
            hint="a model with the names and shapes of the file, in the same order of layers",
        )
    if not partial:
        raise CheckpointError(
            f"{path}: does not fit the config's model",
            f"{len(matched.missing)} names are missing, {len(matched.unexpected)} unexpected, "
            f"{len(matched.misshaped)} of another shape",
            "--partial takes what fits",
        )
