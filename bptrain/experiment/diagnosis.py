"""The verdicts on a run, from its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bptrain import tags
from bptrain.data import Batch
from bptrain.errors import CheckpointError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.data_facts import rms, valid
from bptrain.experiment.failed_step import read_batches, read_failure
from bptrain.experiment.non_finite import Failure
from bptrain.experiment.saved_run import read_config
from bptrain.experiment.stored_config import plain
from bptrain.monitor.loop_verdicts import Record
from bptrain.monitor.run_log import METRICS
from bptrain.monitor.verdicts import History, Setup, Verdict, verdicts_on
from bptrain.monitor.verdicts.non_finite import not_finite
from bptrain.rundir import metrics_file


def setup_of(config: ExperimentConfig) -> Setup:
    """Return what verdicts know of a config."""
    return Setup(plain(config))


def verdicts_of(run_dir: Path) -> list[Verdict]:
    """Return the verdicts on a run in a folder, from its log, its config and its failed step.

    The folder may be that of a loop of the user's own that was watched.
    """
    watched = Record.in_folder(run_dir)
    if watched is not None:
        return watched.verdicts(History(read_lines(run_dir)))
    config = read_config(run_dir)
    return verdicts_from(History(read_lines(run_dir)), setup_of(config), run_dir)


def verdicts_from(history: History, setup: Setup, run_dir: Path) -> list[Verdict]:
    """Return the verdicts on what a run logged; a run without any is judged by its failed step."""
    verdicts = verdicts_on(history, setup)
    failure = read_failure(run_dir)
    if failure is None:
        return verdicts
    return verdicts or _of_failure(failure, read_batches(run_dir), setup)


def _of_failure(failure: Failure, batches: Sequence[Batch], setup: Setup) -> list[Verdict]:
    """Return the verdicts on a run that failed before it had a log line: is it the data's scale?"""
    facts = {tags.INPUT_RMS: [valid(each) for each in batches]}
    facts[tags.TARGET_RMS] = [each.targets[0] for each in batches]
    scales = {
        tag: rms(tensors)
        for tag, tensors in facts.items()
        if tensors and all(each.is_floating_point() for each in tensors)
    }
    found = verdicts_on(History([{"step": failure.step, **scales}]), setup)
    return found or [not_finite(failure.step, failure.what, failure.why, setup)]


def logged_before(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines that a resumed run begins with; none of a log that is damaged.

    Nothing of the training depends on them.
    """
    try:
        return read_lines(run_dir)
    except CheckpointError:
        return []


def read_lines(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log; one that was cut off by a kill, at its end, is left out.

    Raises CheckpointError for a log that cannot be read.
    """
    path = run_dir / METRICS
    lines = metrics_file.read_lines(path)
    if lines.damaged:
        raise CheckpointError(f"{path}:{lines.damaged[0]}: no line of a run's log")
    return lines.read
