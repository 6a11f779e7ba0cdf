"""What the terminal shows: a progress bar for a person, one plain line a log step for a log."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


class TrainingConsole:
    """Shows a run; `console` decides by its terminal which of the two forms is used."""

    def __init__(self, console: Console, total_steps: int, steps_per_epoch: int) -> None:
        self.console = console
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_steps, epoch=1, figures="")

    def advance(self, step: int, epoch: int) -> None:
        """Move the bar; `epoch` is counted from 0."""
        if self.console.is_terminal:
            self._progress.update(self._task, completed=step, epoch=epoch + 1)

    def show(self, step: int, values: dict[str, float]) -> None:
        """Show the figures of a logged step."""
        if self.console.is_terminal:
            self._progress.update(self._task, figures=figures(values, "train/"))
        if not self.console.is_terminal or "val/loss" in values:
            epochs = step / self.steps_per_epoch
            line = f"step {step}/{self.total_steps}  epoch {epochs:.2f}  {figures(values, '')}"
            self.console.print(line, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> "TrainingConsole":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


def figures(values: dict[str, float], prefix: str) -> str:
    """Return the figures a person follows, those whose tag begins with `prefix`."""
    forms = {
        "train/loss": "loss {:.4f}",
        "train/accuracy": "acc {:.2%}",
        "val/loss": "val loss {:.4f}",
        "val/accuracy": "val acc {:.2%}",
        "grad/total": "grad {:.3g}",
        "train/lr": "lr {:.3g}",
        "perf/samples_per_s": "{:,.0f} samples/s",
    }
    shown = [tag for tag in forms if tag in values and tag.startswith(prefix)]
    return "  ".join(forms[tag].format(values[tag]) for tag in shown)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first two columns are text and whose others are numbers."""
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < 2 else "right")
    for row in rows:
        made.add_row(*row)
    return made
