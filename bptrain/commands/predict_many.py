"""`predict` on a command line: inputs as they come, printed as they are predicted.

A few inputs are in memory at a time, and one file of a table or of arrays. An input that cannot be
read is said on stderr and left out; the others are printed, and the exit code tells.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bptrain.commands.named_inputs import (
    STDIN,
    expanded,
    groups_of,
    holds_many,
    with_file_of_stdin,
)
from bptrain.commands.predict import predictor_of, to_csv, to_rows
from bptrain.data.file_tree import FileKind
from bptrain.errors import DataError, UsageError, printable
from bptrain.experiment.prediction import Predictor, refuse_options
from bptrain.experiment.saved_run import Choice
from bptrain.monitor.console import lines_of
from bptrain.tasks import task_of
from bptrain.tasks.task import Prediction
from bptrain.tasks.text_sampling import SamplingOptions
from bptrain.train.memory import allocating

ROWS = 1_000  # of the table that are aligned with each other
NOTHING = FileKind("file", ())


class Printer(Protocol):
    """Prints predictions as they come."""

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Print some predictions."""
        ...

    def end(self) -> None:
        """Print what remains."""
        ...


class JsonPrinter:
    """One list, whatever number of predictions there are."""

    def __init__(self) -> None:
        self.before = "["

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Print some predictions."""
        for each in predictions:
            print(self.before + json.dumps(each), end="")
            self.before = ", "

    def end(self) -> None:
        """Print the end of the list."""
        print("]" if self.before == ", " else "[]")


class CsvPrinter:
    """A heading and a row for each prediction."""

    def __init__(self) -> None:
        self.show = printable if sys.stdout.isatty() else str  # a file gets names as they are
        self.is_first = True

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Print some predictions."""
        if predictions:
            print(self.show(to_csv(predictions, self.is_first)), end="")
            self.is_first = False

    def end(self) -> None:
        """Do nothing: each row is printed."""


class TablePrinter:
    """Aligned columns, so many rows at a time."""

    def __init__(self) -> None:
        self.waiting: list[Prediction] = []
        self.is_first = True

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Keep some predictions, and print those that make a table together."""
        self.waiting += predictions
        while len(self.waiting) >= ROWS:
            self._print(self.waiting[:ROWS])
            del self.waiting[:ROWS]

    def end(self) -> None:
        """Print the rows that remain."""
        if self.waiting:
            self._print(self.waiting)

    def _print(self, predictions: Sequence[Prediction]) -> None:
        lines = lines_of(to_rows(predictions))
        print("\n".join(lines if self.is_first else lines[1:]))
        self.is_first = False


def printer(as_json: bool, as_csv: bool) -> Printer:
    """Return what prints predictions in the chosen form, or raise UsageError for two at once."""
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    return JsonPrinter() if as_json else CsvPrinter() if as_csv else TablePrinter()


def predict_many(
    run_dir: Path,
    words: Sequence[str],
    which: Choice,
    options: SamplingOptions | None,
    show: Printer,
) -> None:
    """Print the predictions for what words name; raise DataError if an input was left out."""
    predictor = predictor_of(run_dir, which)
    if not task_of(predictor.problem).generates_text:
        refuse_options(options, predictor.problem)
    config = predictor.config
    kind: FileKind = getattr(config.data, "input_files", NOTHING)
    size = 1 if holds_many(kind) else config.batch_size
    left_out, done = 0, 0
    with allocating(), with_file_of_stdin(words, kind) as named:
        inputs, total = _counted(named, kind)
        given = Given(predictor, options, show, dict(zip(named, words, strict=True)), total == 1)
        with _progress(total) as advance:
            for group in groups_of(inputs, size):
                left_out += given.predict(group)
                done += len(group)
                advance(len(group))
        show.end()
    if left_out:
        raise DataError(
            f"{left_out:,} of {done:,} inputs left out",
            "each is named above, with its reason",
            "replace or leave out these; the others are predicted",
        )


def _counted(words: Sequence[str], kind: FileKind) -> tuple[Iterable[str], int | None]:
    """Return the inputs that words name, and how many there are if that is known."""
    if STDIN in words:
        return expanded(words, kind), None
    inputs = list(expanded(words, kind))
    return inputs, len(inputs)


@dataclass(frozen=True)
class Given:
    """How inputs are predicted and printed.

    shown     what a word is called, where not as it is
    is_alone  whether there is a single input, whose error is that of the command
    """

    predictor: Predictor
    options: SamplingOptions | None
    show: Printer
    shown: Mapping[str, str]
    is_alone: bool

    def predict(self, group: Sequence[str]) -> int:
        """Print the predictions for a group of inputs; return how many of them were left out."""
        names = [self.shown.get(word, word) for word in group]
        parts = self.predictor.parts_of_words(group, self.options, names)
        try:
            if len(group) == 1:  # a file, which may hold more than memory does once predicted
                for part in parts:
                    self.show.add(part)
            else:
                self.show.add([each for part in parts for each in part])
        except DataError as error:
            if self.is_alone:
                raise
            if len(group) == 1:
                why = f" ({error.why})" * bool(error.why)
                print(printable(f"left out: {error.what}{why}"), file=sys.stderr)
                return 1
        else:
            return 0
        return sum(self.predict([word]) for word in group)


@contextmanager
def _progress(total: int | None) -> Iterator["Advance"]:
    """Show a bar on the terminal while predictions go elsewhere, and give what moves it."""
    is_shown = sys.stderr.isatty() and not sys.stdout.isatty()
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda inputs: bar.advance(task, inputs)


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, inputs: int, /) -> None:
        """Say how many more inputs are done."""
        ...
