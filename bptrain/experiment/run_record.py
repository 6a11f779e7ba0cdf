"""What a run's folder tells of the run: its config, its log, and how it ended."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bptrain import tags
from bptrain.errors import CheckpointError, shorten
from bptrain.experiment.best_state import best_by
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.diagnosis import setup_of, verdicts_from
from bptrain.experiment.saved_run import read_config
from bptrain.experiment.stored_config import plain
from bptrain.monitor.run_log import METRICS
from bptrain.monitor.verdicts import History, Verdict
from bptrain.monitor.verdicts.history import is_number
from bptrain.rundir.manifest import read_regular
from bptrain.rundir.metrics_file import Lines, read_lines
from bptrain.rundir.prepared import Stored, read_stored
from bptrain.rundir.run_lock import owner_of

LARGEST_DESCRIPTION = 2**20  # bytes of environment.json, and of error.log
SPLITS = ("train", "val", "test")
FINISHED = "finished"  # how a run ended that came to its test


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run without its data.

    stored       of its data and config
    history      what it logged
    environment  {} if it cannot be read
    verdicts     the cause to begin with first
    ending       how it ended, in words
    notes        what could not be read
    """

    folder: Path
    config: ExperimentConfig
    stored: Stored
    history: History
    environment: dict[str, Any]
    verdicts: list[Verdict]
    ending: str
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.resolve().name

    @property
    def duration_s(self) -> float | None:
        """Seconds of training, over all resumes; None before the first log line."""
        times = self.history.values("time_s")
        return times[-1] if times else None

    @cached_property
    def metrics(self) -> list[str]:
        """The names of the loss and the metrics that were logged."""
        found = (
            tag.partition("/")[2]
            for split in ("test", "val", "train")
            for line in self.history.lines
            for tag in line
            if tag.startswith(f"{split}/")
        )
        described = {tags.LEARNING_RATE, tags.EPOCH, tags.LOSS_SCALE}
        described |= {tags.SKIPPED_STEPS, tags.ROLLBACKS}
        left_out = {tag.removeprefix("train/") for tag in described}
        names = [name for name in dict.fromkeys(found) if name not in left_out]
        return sorted(names, key=lambda name: name != "loss")

    @cached_property
    def final(self) -> dict[str, float]:
        """The last finite value of each metric by tag."""
        values = {tag: self.history.values(tag) for tag in self._tags(*SPLITS)}
        return {tag: each[-1] for tag, each in values.items() if each}

    @cached_property
    def best(self) -> tuple[int, dict[str, float]] | None:
        """The step with the best validation, and its metrics by tag; None without validation."""
        ranking = best_by(self.config, self.stored.problem)
        lines = [each for each in self.history.lines if is_number(each.get(ranking.tag))]
        if not lines:
            return None
        line = min(reversed(lines), key=ranking.cost)  # of equal ones the newest, as checkpoints
        values = {tag: line[tag] for tag in self._tags("val") if is_number(line.get(tag))}
        return line["step"], values

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """The metrics that the run is compared with, by the name of the baseline."""
        found: dict[str, dict[str, float]] = {}
        logged = dict.fromkeys(tag for line in self.history.lines for tag in line)
        for tag in (tag for tag in logged if tag.startswith(tags.BASELINE)):
            name, _, metric = tag.removeprefix(tags.BASELINE).rpartition("/")
            if values := self.history.values(tag):
                found.setdefault(name, {})[metric] = values[-1]
        return found

    def _tags(self, *splits: str) -> Iterator[str]:
        return (f"{split}/{name}" for split in splits for name in self.metrics)


def read_record(run_dir: Path, ending: str = "") -> RunRecord:
    """Return what a run's folder tells of it.

    ending  how it ended, where the caller has trained it

    Raises UsageError for a folder without a run, CheckpointError for an edited or damaged config.
    """
    config, stored = read_config(run_dir), read_stored(run_dir)
    lines, notes = _log(run_dir)
    history = History(lines.read)
    verdicts: list[Verdict] = []
    try:
        verdicts = verdicts_from(history, setup_of(config), run_dir)
    except CheckpointError as error:
        notes.append(f"the step that failed cannot be read: {shorten(error.what)}")
    environment = _environment(run_dir)
    if not environment:
        notes.append("environment.json cannot be read")
    ending = ending or _ending(run_dir, history)
    return RunRecord(run_dir, config, stored, history, environment, verdicts, ending, notes)


def _log(run_dir: Path) -> tuple[Lines, list[str]]:
    """Return the lines of a run's log that can be read, and what cannot be."""
    try:
        lines = read_lines(run_dir / METRICS)
    except CheckpointError as error:
        return Lines([], []), [shorten(f"{METRICS} cannot be read: {error.why or error.what}")]
    if not lines.damaged:
        return lines, []
    many = len(lines.damaged)
    first = f"line {lines.damaged[0]:,}" if many == 1 else f"{many:,} lines"
    return lines, [f"{METRICS}: {first} cannot be read and {'is' if many == 1 else 'are'} left out"]


def _environment(run_dir: Path) -> dict[str, Any]:
    try:
        text = read_regular(run_dir / "environment.json", LARGEST_DESCRIPTION)
        found = json.loads(text.decode())
    except (CheckpointError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _ending(run_dir: Path, history: History) -> str:
    """Return how a run ended, as far as its folder tells."""
    if owner := owner_of(run_dir):
        return f"in progress: {owner}"
    if cause := _cause(run_dir):
        return f"failed: {cause}"
    if any(tag.startswith("test/") for line in history.lines[-1:] for tag in line):
        return FINISHED
    return f"ended after step {history.step:,}" if history.lines else "ended before its first line"


def _cause(run_dir: Path) -> str:
    """Return the error that a run ended with, "" if there was none."""
    try:
        text = read_regular(run_dir / "error.log", LARGEST_DESCRIPTION).decode(errors="replace")
    except CheckpointError:
        return ""
    # an error's own lines about why and what to try are indented
    lines = [line for line in text.splitlines() if line.strip() and not line[0].isspace()]
    return shorten(lines[-1].rpartition("Error: error: ")[2]) if lines else "error.log is empty"


def config_of(record: RunRecord) -> dict[str, Any]:
    """Return the resolved config of a run as plain values."""
    return plain(record.config)
