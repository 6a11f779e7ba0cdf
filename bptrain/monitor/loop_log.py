"""The log of a training loop of the user's own: metrics file, board, verdicts as they appear."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.diagnosis import Diagnosis
from bptrain.monitor.flow_pictures import flow_pictures, flow_pictures_are_due, shows_flow
from bptrain.monitor.loop_verdicts import Failure, Record
from bptrain.monitor.run_log import RunLog
from bptrain.monitor.tensorboard import NO_SERIES
from bptrain.monitor.verdicts import History
from bptrain.rundir.run_directory import create_run_directory


class LinesAlone(TrainingConsole):
    """Prints verdicts and notices; progress is the loop's own to show."""

    def __init__(self) -> None:
        super().__init__(Console(markup=False, emoji=False), total_steps=0, steps_per_epoch=1)

    def show(self, step: int, values: dict[str, float]) -> None:
        """Print nothing."""


class LoopLog:
    """Writes lines of values by tag, and tells each kind of verdict once.

    folder  a new one; a number is added to its name if there is such a folder
    """

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = create_run_directory(folder.name, None, folder.parent)
        self.record, self.diagnosis = record, Diagnosis(record.setup)
        record.write(self.folder)
        text = f"model: {record.model}"
        self._log = RunLog(self.folder, text, {}, (), LinesAlone())
        self._log.begin()
        self._observed, self._drawn = 0, 0  # lines with norms by layer, and those that are drawn

    def print_line(self, text: str) -> None:
        """Print a line."""
        self._log.console.print_line(text)

    def describe(self, record: Record) -> None:
        """Store what else is known of the loop."""
        self.record, self.diagnosis.setup = record, record.setup
        record.write(self.folder)

    def write(
        self, step: int, values: dict[str, float], series: Mapping[str, Sequence[float]] = NO_SERIES
    ) -> None:
        """Write the values of a step, and the verdicts that are new with them."""
        self._log.write(step, None, values, series)
        found = self.diagnosis.add_more(step, {**values, **series})
        self._log.tell(step, None, [self.record.on_loop(each) for each in found])
        self._observed += shows_flow(values)
        if flow_pictures_are_due(values, self._observed):
            self._draw(step)

    def _draw(self, step: int) -> None:
        """Write the pictures of the gradient flow, if there is anything new to draw."""
        if self._observed > self._drawn:
            self._log.board.write_pictures(step, dict(flow_pictures(self.diagnosis.lines)))
        self._drawn = self._observed

    def fail(self, failure: Failure, lines: Sequence[str]) -> None:
        """Print and store what is known of a step that is not finite; the first one is kept."""
        for line in lines:
            self.print_line(line)
        if self.record.failure is None:
            self.describe(self.record.model_copy(update={"failure": failure}))

    def close(self) -> None:
        """Print all verdicts, draw what is not drawn yet, and close the files."""
        if self.diagnosis.lines:
            self._draw(self.diagnosis.lines[-1]["step"])
        for verdict in self.record.verdicts(History(self.diagnosis.lines)):
            for line in verdict.lines:
                self.print_line(line)
        self._log.close()
