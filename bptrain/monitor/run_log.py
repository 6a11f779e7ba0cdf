"""What a run tells while it goes on, in three places: `metrics.jsonl`, the board, the terminal."""

from typing import NamedTuple

from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.metrics_file import MetricsFile
from bptrain.monitor.tensorboard import Board


class Told(NamedTuple):
    """How far the files go; nowhere for a run that begins.

    metrics    bytes of `metrics.jsonl`
    elapsed_s  seconds that the run has taken
    board      bytes of each event file by name
    """

    metrics: int | None = None
    elapsed_s: float = 0.0
    board: dict[str, int] | None = None


class RunLog:
    """Writes the values of a step to all three."""

    def __init__(self, metrics: MetricsFile, board: Board, shown: TrainingConsole) -> None:
        self.metrics, self.board, self.shown = metrics, board, shown

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Write the values of a step by tag; `epoch` is counted from 0."""
        self.metrics.write(step, epoch, values)
        self.board.write(step, values)
        self.shown.show(step, values)

    def position(self) -> Told:
        """Return how far the files go, which the disk now holds; a resume takes back the rest."""
        return Told(self.metrics.position(), self.metrics.elapsed_s, self.board.position())
