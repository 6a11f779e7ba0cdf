"""Runs of a third of a second, their results without faults, and comparisons with these."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from launcher import Launcher, Process
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import list_checkpoints, newest_valid
from bptrain.rundir.event_file import event_files
from bptrain.verify.run_equality import compare_runs, is_measured

# checkpoints fall within an epoch and at its end, at logged steps and between them
CONFIGS = {
    "mlp": """\
data: {kind: digits, batch_size: 256}
model: {kind: mlp, hidden: [16], dropout: 0.1}
optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}
train: {epochs: 3}
monitor: {log_every: 2}
checkpoint: {every_steps: 4, keep_last: 2}
""",
    "cnn": """\
data:
  kind: digits
  batch_size: 256
  augment: [{kind: crop, padding: 1}, {kind: noise, std: 0.1}, {kind: mixup, alpha: 0.2}]
model:
  kind: cnn
  stages: [{channels: 4}, {channels: 8}]
  normalization: batch
  dropout: 0.2
optimizer: {kind: adamw, lr: 0.01}
schedule: {kind: cosine, warmup_steps: 3}
train: {epochs: 3, ema_decay: 0.9, clip_grad_norm: 1.0}
monitor: {log_every: 3}
checkpoint: {every_steps: 4, keep_last: 2}
""",
    "lstm": """\
data: {kind: text, path: verse.txt, window: 16, batch_size: 4, test_fraction: 0.1}
model: {kind: rnn, cell: lstm, hidden: 8, layers: 2, dropout: 0.1, init: orthogonal}
optimizer: {kind: adam, lr: 0.02}
schedule: {kind: plateau, patience: 0}
train: {epochs: 3}
monitor: {log_every: 3}
checkpoint: {every_steps: 5, keep_last: 2}
""",
}
VERSE = "round and round the rugged rock the ragged rascal ran\n" * 12
MAX_LINES = 6  # of an error message
NOT_COMPARED = (
    "environment.json",
    "lock",
    "metrics.jsonl",
    "tensorboard",
    "report.html",  # derived from the others, and no part of the state
)  # they hold paths and times


@dataclass
class Run:
    """A run in `folder`/run, started and resumed by a launcher."""

    launcher: Launcher
    folder: Path
    kind: str
    changes: Sequence[str] = ()  # of the config
    draws: bool = False  # pictures, which take most of the time; else fingerprints of them

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(f"device: cpu\n{CONFIGS[self.kind]}")
        (self.folder / "verse.txt").write_text(VERSE)

    @property
    def run_dir(self) -> Path:
        """Its folder."""
        return self.folder / "run"

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.run_dir / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from, valid or not."""
        return bool(list_checkpoints(self.checkpoints))

    def words(self, resume: bool | None = None) -> list[str]:
        """Return its command line, with `--resume` if it has a checkpoint."""
        resumes = self.has_checkpoint if resume is None else resume
        words = ["fit", "config.yaml", *self.changes, "--run-dir", "run"]
        return [*words, "--resume"] if resumes else words

    def go(self, fault: str = "", *arguments: Any, resume: bool | None = None) -> tuple[int, str]:
        """Start or resume it, to the end; return exit code and stderr."""
        words = self.words(resume)
        return self.launcher.run(words, self.folder, fault, arguments, self.draws)

    def start(self, fault: str = "", *arguments: Any) -> Process:
        """Start or resume it."""
        return self.launcher.start(self.words(), self.folder, fault, arguments, self.draws)

    def problem_after_resume(self, reference: Path, same_checkpoints: bool = True) -> str:
        """Resume it after a fault, and return what is wrong then; "" for nothing.

        same_checkpoints  whether it must end with the reference's checkpoints; a stop adds one
        """
        if not self.has_checkpoint:
            return self.problem_with_refusal()
        try:
            newest_valid(self.checkpoints)
        except CheckpointError as error:
            return f"no checkpoint is valid: {error}"
        code, stderr = self.go(resume=True)
        if code:
            return f"resume ended with {code}: {stderr}"
        return difference(reference, self.run_dir, same_checkpoints)

    def problem_with_refusal(self) -> str:
        """Resume a run without a checkpoint; return what is wrong with the refusal."""
        before = listed(self.folder)
        if before.get("run/metrics.jsonl"):
            return "it has logged steps, and has no checkpoint"
        code, stderr = self.go(resume=True)
        if code != 4:
            return f"no checkpoint, and resume ended with {code}: {stderr}"
        if listed(self.folder) != before:
            return f"a refused resume left {listed(self.folder)}, found {before}"
        is_clear = any(words in stderr for words in ("no checkpoint", "no run to resume"))
        return message_problem(stderr) or ("" if is_clear else f"unclear: {stderr}")


def fresh(
    launcher: Launcher, work_dir: Path, name: object, kind: str = "mlp", *changes: str
) -> Run:
    """Return a new run; remove what is left of the earlier ones."""
    for path in work_dir.glob("faulty-*"):
        shutil.rmtree(path)
    return Run(launcher, work_dir / f"faulty-{name}", kind, changes)


@dataclass(frozen=True)
class ReferenceRun:
    """A run without a fault: its folder and its duration."""

    run_dir: Path
    duration_s: float


class ReferenceRuns:
    """The runs without faults, each run once, when first needed."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.launcher, self.folder = launcher, folder
        self.made: dict[tuple[str | bool, ...], ReferenceRun] = {}

    def of(self, kind: str, *changes: str, draws: bool = False) -> ReferenceRun:
        """Return the run of a kind."""
        name = (kind, *changes, draws)
        if name not in self.made:
            run = Run(self.launcher, self.folder / str(len(self.made)), kind, changes, draws)
            started = time.monotonic()
            code, stderr = run.go()
            assert code == 0, stderr
            self.made[name] = ReferenceRun(run.run_dir, time.monotonic() - started)
        return self.made[name]


def difference(reference: Path, run: Path, same_checkpoints: bool = True) -> str:
    """Return how a run differs from its reference run; "" if it does not."""
    compared = compare_runs(reference, run)
    files = [files_of(each, with_checkpoints=same_checkpoints) for each in (reference, run)]
    different = [f"{each.what}: {each.difference}" for each in compared if each.difference]
    different += [f"{each} differs" for each in differing(*files)]
    different += [
        f"{each} in TensorBoard" for each in differing(board_of(reference), board_of(run))
    ]
    return "; ".join(different)


def differing(first: dict[Any, Any], second: dict[Any, Any]) -> Iterator[str]:
    """Yield the keys whose values differ."""
    for key in sorted({*first, *second}):
        if first.get(key) != second.get(key):
            yield str(key)


def files_of(run: Path, with_checkpoints: bool) -> dict[str, bytes]:
    """Return the contents of a run's files by name; checkpoints by name, no metrics."""
    found = {}
    for path in run.rglob("*"):
        folder, name = path.relative_to(run).parts[0], str(path.relative_to(run))
        if not path.is_file() or folder in NOT_COMPARED:
            continue
        if folder != "checkpoints":
            found[name] = path.read_bytes()
        elif with_checkpoints:
            found[name] = b""
    return found


def board_of(run: Path) -> dict[tuple[str, int], str]:
    """Return a digest of every TensorBoard event by tag and position in its curve."""
    shown: dict[tuple[str, int], str] = {}
    counts: dict[str, int] = {}
    for path in event_files(run / "tensorboard").values():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if not is_measured(value.tag):
                    number = counts[value.tag] = counts.get(value.tag, 0) + 1
                    content = value.SerializeToString(deterministic=True)
                    shown[value.tag, number] = f"{event.step} {sha256(content).hexdigest()}"
    return shown


def listed(folder: Path) -> dict[str, int]:
    """Return the sizes of all files by name, except the lock and the output files."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "stdout.txt", "stderr.txt")
    }


def message_problem(stderr: str) -> str:
    """Return what is wrong with the format of an error message; "" for nothing."""
    lines = stderr.splitlines()
    is_error = bool(lines) and lines[0].startswith("error: ") and len(lines) <= MAX_LINES
    return "" if is_error else f"not an error in {MAX_LINES} lines: {stderr}"


def stop_problem(stderr: str) -> str:
    """Return what is wrong with the message of a requested stop, which is no error."""
    is_stop = stderr.startswith("stopped") and len(stderr.splitlines()) <= MAX_LINES
    return "" if is_stop else f"not a stop in {MAX_LINES} lines: {stderr}"


def operations_of(run: Run, resume: bool = False) -> list[tuple[str, str]]:
    """Run or resume to the end, and return the operations on files."""
    report = run.folder.parent / f"{run.folder.name}.operations"
    code, stderr = run.go("disk_faults:count", str(report), resume=resume)
    assert code == 0, stderr
    return [(name, path) for name, path in json.loads(report.read_text())]
