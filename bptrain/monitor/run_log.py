"""What a run tells while it goes on, in three places: `metrics.jsonl`, the board, the terminal."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from bptrain.errors import CheckpointError
from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.tensorboard import Board
from bptrain.rundir.metrics_file import MetricsFile
from bptrain.saved_values import mapping, number, whole


class Told(NamedTuple):
    """How far the files go; nowhere for a run that begins.

    metrics    bytes of `metrics.jsonl`
    elapsed_s  seconds that the run has taken
    board      bytes of each event file by name
    """

    metrics: int | None = None
    elapsed_s: float = 0.0
    board: Mapping[str, int] | None = None

    @classmethod
    def of(cls, state: Any) -> "Told":
        """Return what `_asdict` made plain values of; raises CheckpointError for what is none.

        The names and sizes are for those to judge who go on with the files.
        """
        try:
            held = mapping(state)
            metrics, elapsed_s = whole(held["metrics"]), number(held["elapsed_s"])
            if elapsed_s < 0:
                raise ValueError(f"{elapsed_s} seconds were taken")  # noqa: TRY301
            return cls(metrics, elapsed_s, mapping(held["board"]))
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                "the checkpoint does not tell how far the run's log went",
                f"{type(error).__name__}: {error}",
                "take another checkpoint of the run",
            ) from error


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
