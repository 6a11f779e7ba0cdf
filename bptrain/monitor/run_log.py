"""What a run logs, in three places: `metrics.jsonl`, the TensorBoard board, the terminal."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import Field

from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.tensorboard import Board
from bptrain.rundir.metrics_file import MetricsFile
from bptrain.stateful import PlainState, Tree


class LogPosition(PlainState):
    """How far the files of a log go.

    step       optimizer steps done
    metrics    bytes of `metrics.jsonl`
    elapsed_s  seconds that the run has taken
    board      bytes of each event file by name
    """

    step: int = Field(ge=0)
    metrics: int = Field(ge=0)
    elapsed_s: float = Field(ge=0)
    board: dict[str, int]


class RunLog:
    """Writes the values of a step to all three.

    The files are opened by `begin`, or by `restore`, which first removes what was written after the
    saved position: the log then reads as if the run had never stopped.

    gradient_tags  the curves of gradient norms
    metric_names   the metrics of the validation split besides the loss
    """

    metrics: MetricsFile
    board: Board

    def __init__(
        self,
        run_dir: Path,
        config_text: str,
        gradient_tags: Sequence[str],
        metric_names: Sequence[str],
        shown: TrainingConsole,
    ) -> None:
        self.run_dir, self.config_text, self.shown = run_dir, config_text, shown
        self.gradient_tags, self.metric_names = gradient_tags, metric_names
        self.step = 0
        self._opened = ExitStack()

    def begin(self) -> None:
        """Open the files of a new run."""
        self._open(None)

    def _open(self, at: LogPosition | None) -> None:
        self.metrics = MetricsFile(
            self.run_dir / "metrics.jsonl",
            None if at is None else at.metrics,
            0.0 if at is None else at.elapsed_s,
        )
        self._opened.enter_context(self.metrics)
        self.board = Board(
            self.run_dir / "tensorboard",
            self.config_text,
            self.gradient_tags,
            self.metric_names,
            None if at is None else at.board,
            self.step,
        )
        self._opened.enter_context(self.board)
        for what, file in (("metrics.jsonl", self.metrics), ("tensorboard/", self.board)):
            if file.missing_bytes:
                self.shown.say(
                    f"{what} lacks {file.missing_bytes:,} bytes that it had: lines are lost"
                )

    def advance(self, step: int, epoch: int) -> None:
        """Take note of a step that is done; `epoch` is counted from 0."""
        self.step = step
        self.shown.advance(step, epoch)

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Write the values of a step by tag; `epoch` is counted from 0."""
        self.metrics.write(step, epoch, values)
        self.board.write(step, values)
        self.shown.show(step, values)

    def state(self) -> dict[str, Any]:
        """Return how far the files go, which the disk now holds."""
        return {
            "step": self.step,
            "metrics": self.metrics.position(),
            "elapsed_s": self.metrics.elapsed_s,
            "board": self.board.position(),
        }

    def restore(self, state: Tree) -> None:
        """Continue the files of a run from a `state`.

        Raises ValueError or CheckpointError for one of another log.
        """
        at = LogPosition.read(state)
        self.step = at.step
        self._open(at)

    def __enter__(self) -> "RunLog":
        self._opened.enter_context(self.shown)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, traceback)
