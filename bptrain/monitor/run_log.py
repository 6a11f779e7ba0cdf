"""What a run tells while it goes on, in three places: `metrics.jsonl`, the board, the terminal."""

from typing import Any

from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.metrics_file import MetricsFile
from bptrain.monitor.tensorboard import Board


class RunLog:
    """Writes the values of a step to all three."""

    def __init__(self, metrics: MetricsFile, board: Board, shown: TrainingConsole) -> None:
        self.metrics, self.board, self.shown = metrics, board, shown

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Write the values of a step by tag; `epoch` is counted from 0."""
        self.metrics.write(step, epoch, values)
        self.board.write(step, values)
        self.shown.show(step, values)

    def position(self) -> dict[str, Any]:
        """Return how far the files go, which the disk now holds; a resume takes back the rest."""
        return {"metrics": self.metrics.position(), "board": self.board.position()}
