"""Log of a run in three places: `metrics.jsonl`, TensorBoard and the terminal."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import Field
from tensorboard.compat.proto.graph_pb2 import GraphDef

from bptrain import tags
from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.tensorboard import NO_SERIES, Board
from bptrain.monitor.verdicts import Verdict
from bptrain.rundir.event_file import BOARD
from bptrain.rundir.file_digests import FileDigests
from bptrain.rundir.metrics_file import MetricsFile
from bptrain.stateful import PlainState, Tree

METRICS = "metrics.jsonl"


class LogPosition(PlainState):
    """Position in the files of a log, to resume from.

    step       optimizer steps done
    metrics    bytes of `metrics.jsonl`
    elapsed_s  seconds the run has taken
    board      bytes of each event file by name
    digests    SHA-256 of these bytes of each file by name; older checkpoints have none
    has_graph  whether the event files hold the graph of the model
    """

    step: int = Field(ge=0)
    metrics: int = Field(ge=0)
    elapsed_s: float = Field(ge=0)
    board: dict[str, int]
    digests: dict[str, str] = Field(default_factory=dict)
    has_graph: bool


class RunLog:
    """Writes the values of a step to `metrics.jsonl`, TensorBoard and the terminal.

    The files are opened by `begin`, or by `restore`, which first removes what was written after the
    saved position: the log is then the same as if the run had never stopped.

    hyperparameters  of the run, by config key
    metric_names     metrics of the validation split besides the loss, the most important one first
    """

    metrics: MetricsFile
    board: Board

    def __init__(
        self,
        run_dir: Path,
        config_text: str,
        hyperparameters: Mapping[str, float | str],
        metric_names: Sequence[str],
        console: TrainingConsole,
    ) -> None:
        self.run_dir, self.config_text, self.console = run_dir, config_text, console
        self.hyperparameters, self.metric_names = hyperparameters, metric_names
        self.step, self.has_graph = 0, False
        self._opened = ExitStack()
        self._digests = FileDigests()

    def begin(self) -> None:
        """Open the files of a new run."""
        self._open(None)

    def _open(self, at: LogPosition | None) -> None:
        self.metrics = MetricsFile(
            self.run_dir / METRICS,
            None if at is None else at.metrics,
            0.0 if at is None else at.elapsed_s,
        )
        self._opened.enter_context(self.metrics)
        self.board = Board(
            self.run_dir / BOARD,
            self.config_text,
            self.hyperparameters,
            self.metric_names,
            None if at is None else at.board,
            self.step,
        )
        self._opened.enter_context(self.board)
        for name, file in ((METRICS, self.metrics), (f"{BOARD}/", self.board)):
            if file.missing_bytes:
                self.console.print_line(
                    f"{name} is {file.missing_bytes:,} bytes shorter than at the checkpoint: "
                    "lines are lost"
                )
        if at is not None:
            self._report_changes(at)

    def _report_changes(self, at: LogPosition) -> None:
        """Say which files no longer hold what they did at the checkpoint: a bit may have flipped.

        Files that are shorter are reported already. The run continues: nothing depends on them.
        """
        for name, digest in self._digests_at(at.metrics, at.board).items():
            if digest != at.digests.get(name, digest):
                self.console.print_line(
                    f"{name} has changed since the checkpoint: it was edited, or the disk is faulty"
                )

    def _digests_at(self, metrics: int, board: Mapping[str, int]) -> dict[str, str]:
        """Return the digests of the files' first bytes by name, of those that have as many."""
        places = {METRICS: (self.run_dir / METRICS, metrics)}
        places |= {name: (self.run_dir / BOARD / name, size) for name, size in board.items()}
        digests = {name: self._digests.of(*place) for name, place in places.items()}
        return {name: digest for name, digest in digests.items() if digest is not None}

    def advance(self, step: int, epoch: int) -> None:
        """Record that a step is done; `epoch` is counted from 0."""
        self.step = step
        self.console.advance(step, epoch)

    def write(
        self,
        step: int,
        epoch: int | None,
        values: dict[str, float],
        series: Mapping[str, Sequence[float]] = NO_SERIES,
    ) -> None:
        """Write the values of a step by tag, and lists over time.

        epoch  counted from 0; None where it is not known
        """
        self.metrics.write(step, epoch, {**values, **series})
        self.board.write(step, values, series)
        self.console.show(step, values)

    def write_graph(self, graph: GraphDef) -> None:
        """Write the graph of the model, once in a run."""
        self.board.write_graph(graph)
        self.has_graph = True

    def tell(self, step: int, epoch: int | None, verdicts: Sequence[Verdict]) -> None:
        """Print verdicts that were given at a step, and write them by tag."""
        for each in verdicts:
            told = {tags.verdict(each.kind): "; ".join(line.strip() for line in each.lines)}
            self.metrics.write(step, epoch, told)
            for tag, text in told.items():
                self.board.write_text(step, tag, text)
            for line in each.lines:
                self.console.print_line(line)

    def state(self) -> dict[str, Any]:
        """Return the position in the files, which are synced to the disk."""
        metrics, board = self.metrics.position(), self.board.position()
        return {
            "step": self.step,
            "metrics": metrics,
            "elapsed_s": self.metrics.elapsed_s,
            "board": board,
            "digests": self._digests_at(metrics, board),
            "has_graph": self.has_graph,
        }

    def restore(self, state: Tree) -> None:
        """Continue the files of a run from a `state`.

        Raises ValueError or CheckpointError for a state of another log.
        """
        at = LogPosition.read(state)
        self.step, self.has_graph = at.step, at.has_graph
        self._open(at)

    def close(self) -> None:
        """Close the files."""
        self._opened.close()

    def __enter__(self) -> "RunLog":
        self._opened.enter_context(self.console)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, traceback)
