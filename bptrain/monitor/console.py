"""Progress output: a progress bar on a terminal, one plain line per log step elsewhere."""

import re
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bptrain import tags
from bptrain.errors import printable

METRIC_FORMATS = {  # format of each metric in a line of output
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.2%}",
    "top5": "top 5 {:.2%}",
    "macro_f1": "macro F1 {:.4f}",
    "balanced_accuracy": "balanced accuracy {:.2%}",
    "macro_precision": "macro precision {:.4f}",
    "roc_auc": "ROC AUC {:.4f}",
    "macro_roc_auc": "macro ROC AUC {:.4f}",
    "average_precision": "average precision {:.4f}",
    "brier_score": "Brier {:.4f}",
    "ece": "ECE {:.4f}",
    "mae": "MAE {:.4g}",
    "rmse": "RMSE {:.4g}",
    "r2": "R2 {:.4f}",
    "perplexity": "perplexity {:.4g}",
    "bits_per_character": "bits per character {:.4g}",
    "character_error_rate": "character errors {:.2%}",
    "word_error_rate": "word errors {:.2%}",
}
# a line after each epoch would become too long
ONLY_AT_THE_END = (
    *("balanced_accuracy", "macro_precision", "macro_roc_auc", "average_precision"),
    *("brier_score", "ece"),
)
WHILE_TRAINING = {
    name: form for name, form in METRIC_FORMATS.items() if name not in ONLY_AT_THE_END
}
FORMATS = {
    **{tags.split_tag("train", name): form for name, form in METRIC_FORMATS.items()},
    **{tags.split_tag("val", name): f"val {form}" for name, form in WHILE_TRAINING.items()},
    # a test's line begins with the task's main metric and ends with the loss
    **{
        tags.split_tag("test", name): METRIC_FORMATS[name]
        for name in [*[*METRIC_FORMATS][1:], "loss"]
    },
    tags.GRAD_TOTAL: "grad {:.3g}",
    tags.LEARNING_RATE: "lr {:.3g}",
    tags.SAMPLES_PER_S: "{:,.0f} samples/s",
}
BAR_TAGS = (tags.TRAIN_LOSS, tags.LEARNING_RATE, tags.SAMPLES_PER_S)
LINE_TAGS = [
    *(tags.split_tag("train", name) for name in METRIC_FORMATS),
    *(tags.split_tag("val", name) for name in WHILE_TRAINING),
    tags.GRAD_TOTAL,
]

NUMBER = re.compile(r"\.|-?[0-9.,]+(e[-+]?[0-9]+)?")  # a single dot means zero


class TrainingConsole:
    """Shows a run: as a bar if `console` is a terminal, else as lines."""

    def __init__(self, console: Console, total_steps: int, steps_per_epoch: int) -> None:
        self.console = console
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total_steps, epoch=1, values="")

    def advance(self, step: int, epoch: int) -> None:
        """Advance the bar to a step; `epoch` is counted from 0."""
        if self.console.is_terminal:
            self._progress.update(self._task, completed=step, epoch=epoch + 1)

    def show(self, step: int, values: dict[str, float]) -> None:
        """Show the values of a logged step."""
        epochs = step / self.steps_per_epoch
        if not self.console.is_terminal:
            self._print(
                f"step {step}/{self.total_steps}  epoch {epochs:.2f}  {format_values(values)}"
            )
            return
        self._progress.update(self._task, values=format_values(values, BAR_TAGS))
        if tags.VAL_LOSS in values:
            self._print(f"epoch {epochs:.4g}  {format_values(values, LINE_TAGS)}")

    def print_line(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

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


def format_values(values: dict[str, float], tags: Sequence[str] = tuple(FORMATS)) -> str:
    """Return the values of `tags` that are present, as a line."""
    return "  ".join(FORMATS[tag].format(values[tag]) for tag in tags if tag in values)


def duration(seconds: float | None) -> str:
    """Return a time in words, such as "2 min 5 s"."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first two columns are text and whose others are numbers."""
    result = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        result.add_column(column, justify="left" if number < 2 else "right")
    for row in rows:
        result.add_row(*row)
    return result


def lines_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows, the first one their header, as aligned lines; numbers are right-aligned.

    A cell may hold a name from a file: it is made printable.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_number = [all(map(NUMBER.fullmatch, column[1:])) for column in columns]
    return ["  ".join(map(_aligned, row, widths, is_number)).rstrip() for row in rows]


def _aligned(cell: str, width: int, is_number: bool) -> str:
    return cell.rjust(width) if is_number else cell.ljust(width)
