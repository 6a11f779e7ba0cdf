"""Runs of a third of a second, what they end as when left alone, and whether another one does."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from launcher import Launcher
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import list_checkpoints, newest_sound
from bptrain.rundir.event_file import event_files
from bptrain.verify.run_equality import compare_runs, is_measured

# saves fall within an epoch and at its end, beside log lines and between them
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
MOST_LINES = 6  # of an error
DECIDED_ELSEWHERE = ("environment.json", "lock", "metrics.jsonl", "tensorboard")  # place and time


@dataclass
class Run:
    """A run in `folder`/run, begun and gone on with by a launcher."""

    launcher: Launcher
    folder: Path
    kind: str
    changes: Sequence[str] = ()  # of the config

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
        """Where its states are."""
        return self.run_dir / "checkpoints"

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint to go on from, sound or not."""
        return bool(list_checkpoints(self.checkpoints))

    def words(self, resume: bool | None = None) -> list[str]:
        """Return its command line, which goes on with it if it has begun."""
        goes_on = self.has_begun if resume is None else resume
        words = ["fit", "config.yaml", *self.changes, "--run-dir", "run"]
        return [*words, "--resume"] if goes_on else words

    def go(self, plant: str = "", *arguments: Any, resume: bool | None = None) -> tuple[int, str]:
        """Begin or go on, to the end; return exit code and stderr."""
        return self.launcher.run(self.words(resume), self.folder, plant, arguments)

    def wrong_end(self, golden: Path, kept_as_golden: bool = True) -> str:
        """Go on with it after a fault, and return what is wrong then; "" for nothing.

        kept_as_golden  whether the same checkpoints must be left; one that a signal asked for stays
        """
        if not self.has_begun:
            return self.wrong_refusal()
        try:
            newest_sound(self.checkpoints)
        except CheckpointError as error:
            return f"no checkpoint is sound: {error}"
        code, said = self.go(resume=True)
        if code:
            return f"resume ended with {code}: {said}"
        return difference(golden, self.run_dir, kept_as_golden)

    def wrong_refusal(self) -> str:
        """Go on with what has not begun; return what is wrong with how that is refused."""
        before = listed(self.folder)
        if before.get("run/metrics.jsonl"):
            return "it has logged steps, and has no checkpoint"
        code, said = self.go(resume=True)
        if code != 4:
            return f"no checkpoint, and resume ended with {code}: {said}"
        if listed(self.folder) != before:
            return f"a refused resume left {listed(self.folder)}, found {before}"
        told = any(words in said for words in ("no checkpoint", "no run to resume"))
        return wrong_words(said) or ("" if told else f"unclear: {said}")


def fresh(launcher: Launcher, room: Path, name: object, kind: str = "mlp", *changes: str) -> Run:
    """Return a run that has not begun, what is left of those before it removed."""
    for path in room.glob("hurt-*"):
        shutil.rmtree(path)
    return Run(launcher, room / f"hurt-{name}", kind, changes)


@dataclass(frozen=True)
class Golden:
    """A run left alone: its folder, and the seconds that it took."""

    run_dir: Path
    duration_s: float


class Goldens:
    """The runs left alone, each made once, when it is asked for."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.launcher, self.folder = launcher, folder
        self.made: dict[tuple[str, ...], Golden] = {}

    def of(self, kind: str, *changes: str) -> Golden:
        """Return the run of a kind."""
        name = (kind, *changes)
        if name not in self.made:
            run = Run(self.launcher, self.folder / str(len(self.made)), kind, changes)
            started = time.monotonic()
            code, said = run.go()
            assert code == 0, said
            self.made[name] = Golden(run.run_dir, time.monotonic() - started)
        return self.made[name]


def difference(golden: Path, run: Path, kept_as_golden: bool = True) -> str:
    """Return how a run differs from the golden one; "" if it does not."""
    compared = compare_runs(golden, run)
    files = [files_of(each, with_checkpoints=kept_as_golden) for each in (golden, run)]
    different = [f"{each.what}: {each.difference}" for each in compared if each.difference]
    different += [f"{each} differs" for each in differing(*files)]
    different += [f"{each} on the board" for each in differing(board_of(golden), board_of(run))]
    return "; ".join(different)


def differing(first: dict[Any, Any], second: dict[Any, Any]) -> Iterator[str]:
    """Yield the keys whose values differ."""
    for key in sorted({*first, *second}):
        if first.get(key) != second.get(key):
            yield str(key)


def files_of(run: Path, with_checkpoints: bool) -> dict[str, bytes]:
    """Return the contents of a run's files by name, of checkpoints the names; not its curves."""
    found = {}
    for path in run.rglob("*"):
        folder, name = path.relative_to(run).parts[0], str(path.relative_to(run))
        if not path.is_file() or folder in DECIDED_ELSEWHERE:
            continue
        if folder != "checkpoints":
            found[name] = path.read_bytes()
        elif with_checkpoints:
            found[name] = b""
    return found


def board_of(run: Path) -> dict[tuple[str, int], str]:
    """Return a digest of all that the board shows by tag and place in its curve."""
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
    """Return the sizes of all files by name, but for the owner's line and what was said."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "stdout.txt", "stderr.txt")
    }


def wrong_words(said: str) -> str:
    """Return what is wrong with the words of an error."""
    lines = said.splitlines()
    is_error = bool(lines) and lines[0].startswith("error: ") and len(lines) <= MOST_LINES
    return "" if is_error else f"not an error in {MOST_LINES} lines: {said}"


def operations_of(run: Run, resume: bool = False) -> list[tuple[str, str]]:
    """Go on with a run to its end, and return its operations on files."""
    report = run.folder.parent / f"{run.folder.name}.operations"
    code, said = run.go("disk_plants:count", str(report), resume=resume)
    assert code == 0, said
    return [(name, path) for name, path in json.loads(report.read_text())]
