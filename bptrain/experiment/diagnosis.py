"""The verdicts on a run: while it trains, and later from its folder."""

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
from bptrain.monitor.run_log import METRICS
from bptrain.monitor.verdicts import History, Setup, Verdict, verdicts_on
from bptrain.monitor.verdicts.history import Line
from bptrain.monitor.verdicts.non_finite import not_finite
from bptrain.rundir import metrics_file

FIRST_LINES = 40  # that are all judged; of the others those with a validation: each costs more


class Diagnosis:
    """Judges a run line by line, and tells each kind of verdict once.

    lines  those that the run has logged before, if it is resumed
    """

    def __init__(self, config: ExperimentConfig, lines: Sequence[Line] = ()) -> None:
        self.setup, self.lines = setup_of(config), list(lines)

    def add(self, step: int, values: Line) -> list[Verdict]:
        """Add a line of the log, and return the verdicts that are new."""
        self.return_to(step - 1)
        self.lines.append({"step": step, **values})
        if len(self.lines) > FIRST_LINES and tags.VAL_LOSS not in values:
            return []
        told = {tag for line in self.lines for tag in line if tag.startswith(tags.VERDICT)}
        new = [each for each in self.verdicts() if tags.verdict(each.kind) not in told]
        self.lines += [{"step": step, tags.verdict(each.kind): each.text} for each in new]
        return new

    def is_first(self, step: int) -> bool:
        """Tell whether no line of an earlier step was added."""
        return not any(line["step"] < step for line in self.lines[:1])

    def return_to(self, step: int) -> None:
        """Forget the lines of later steps: the run has returned to a checkpoint."""
        while self.lines and self.lines[-1]["step"] > step:
            self.lines.pop()

    def verdicts(self) -> list[Verdict]:
        """Return the verdicts on the run as it is, the cause to begin with first."""
        return verdicts_on(History(self.lines), self.setup)


def setup_of(config: ExperimentConfig) -> Setup:
    """Return what verdicts know of a config."""
    return Setup(plain(config))


def verdicts_of(run_dir: Path) -> list[Verdict]:
    """Return the verdicts on a run in a folder, from its log, its config and its failed step."""
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
