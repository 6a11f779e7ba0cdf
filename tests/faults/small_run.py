"""A run of a third of a second, and what must hold of it after whatever was done to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import Launcher

from bptrain.errors import CheckpointError
from bptrain.train.checkpoint import list_checkpoints, read_checkpoint
from bptrain.verify.same_run import compare_runs

STEPS = 8
# dropout draws from torch's generator, the epoch of 6 steps ends in the middle, the last save of
# three removes a checkpoint, and a log line is due that the step-000004 stands between
CONFIG = f"""\
name: small
device: cpu
data: {{kind: digits, batch_size: 256}}
model: {{kind: mlp, hidden: [16], dropout: 0.1}}
optimizer: {{kind: adam, lr: 0.01}}
train: {{steps: {STEPS}, ema_decay: 0.9}}
monitor: {{log_every: 3}}
checkpoint: {{every_steps: 4, keep_last: 2}}
"""
MOST_LINES = 6  # of an error


@dataclass
class SmallRun:
    """A run in `folder`/run, started and gone on with by a launcher."""

    launcher: Launcher
    folder: Path
    name: str = "run"
    config: str = CONFIG

    @property
    def run_dir(self) -> Path:
        """Its folder, as the command line names it."""
        return self.folder / self.name

    @property
    def seen(self) -> Path:
        """Its folder, as this process sees it."""
        return self.launcher.seen(self.run_dir)

    @property
    def checkpoints(self) -> Path:
        """Where this process sees its states."""
        return self.seen / "checkpoints"

    def fit(
        self, *words: object, plant: str = "", arguments: Sequence[Any] = ()
    ) -> tuple[int, str]:
        """Run `bptrain fit` to its end and return exit code and stderr."""
        (self.folder / "config.yaml").write_text(self.config)
        command = ["fit", "config.yaml", *words, "--run-dir", self.run_dir]
        return self.launcher.run(command, self.folder, plant, arguments)

    def resume(
        self, *words: object, plant: str = "", arguments: Sequence[Any] = ()
    ) -> tuple[int, str]:
        """Go on with it to its end and return exit code and stderr."""
        return self.fit("--resume", *words, plant=plant, arguments=arguments)

    def said(self) -> str:
        """Return stdout of the last command."""
        return (self.folder / "stdout.txt").read_text()

    def wrong_end(self, golden: Path, *words: object) -> str:
        """Go on with it, and return what keeps it from ending as the golden run; "" for nothing."""
        code, said = self.resume(*words)
        return f"resume: exit {code}: {said}" if code else differences(golden, self.seen)


def differences(golden: Path, run_dir: Path) -> str:
    """Return how a run differs from the golden one."""
    try:
        compared = compare_runs(golden, run_dir)
    except CheckpointError as error:
        return str(error)
    return "; ".join(f"{each.what}: {each.difference}" for each in compared if each.difference)


def wrong_words(ended: tuple[int, str], expected: int, *named: object) -> str:
    """Return what is wrong with how a command ended; an error names `named` and what to try."""
    code, stderr = ended
    lines = stderr.splitlines()
    if code != expected:
        return f"exit {code}, not {expected}: {stderr}"
    if "Traceback" in stderr or not 1 < len(lines) <= MOST_LINES or "  try: " not in stderr:
        return f"not an error in few lines: {stderr}"
    missing = [str(each) for each in named if str(each) not in stderr]
    return f"it does not name {missing}: {stderr}" if missing else ""


def unsound(directory: Path) -> str:
    """Return what is wrong with whatever stands under a checkpoint's name."""
    for path in list_checkpoints(directory):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{path.name} is no checkpoint: {error.what} {error.why}"
    return ""
