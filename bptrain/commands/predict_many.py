"""`predict` on a command line: inputs as they come, printed as they are predicted.

A few inputs are in memory at a time, some rows of a table, or one file of arrays. An input that
cannot be read, or a row of a table, is said on stderr and left out; the others are printed, and the
exit code tells.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from bptrain.commands.named_inputs import (
    STDIN,
    expanded,
    groups_of,
    holds_many,
    with_file_of_stdin,
)
from bptrain.commands.predict import predictor_of, to_csv, to_rows
from bptrain.data.file_tree import FileKind
from bptrain.data.tables.left_out_rows import LeftOutRows
from bptrain.errors import DataError, UsageError, printable
from bptrain.experiment.prediction import Predictor, is_table, refuse_options
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


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, inputs: float, rows: int = 0, /) -> None:
        """Say how many more inputs are done, and rows of tables."""
        ...


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
    with allocating(), with_file_of_stdin(words, kind) as named:
        inputs, total = _counted(named, kind)
        with _progress(total, holds_many(kind)) as advance:
            names = dict(zip(named, words, strict=True))
            given = Given(predictor, options, show, names, total == 1, advance)
            groups = groups_of(inputs, size, lambda word: is_table(config, [word]))
            try:
                for group in groups:
                    given.predict(group)
            except DataError:
                given.end_what_was_printed()
                raise
        show.end()
    given.refuse_if_left_out()


def _counted(words: Sequence[str], kind: FileKind) -> tuple[Iterable[str], int | None]:
    """Return the inputs that words name, and how many there are if that is known."""
    if STDIN in words:
        return expanded(words, kind), None
    inputs = list(expanded(words, kind))
    return inputs, len(inputs)


@dataclass
class Given:
    """How inputs are predicted and printed, and how many of them, and of their rows, were left out.

    shown     what a word is called, where not as it is
    is_alone  whether there is a single input, whose error is that of the command
    """

    predictor: Predictor
    options: SamplingOptions | None
    show: Printer
    shown: Mapping[str, str]
    is_alone: bool
    advance: Advance
    printed: int = 0
    inputs: int = 0
    left_out: int = 0
    rows: int = 0
    left_out_rows: int = 0

    def predict(self, group: Sequence[str]) -> None:
        """Print the predictions for a group of inputs; note those that are left out."""
        if len(group) == 1:
            self._predict_one(group[0])
            return
        try:
            names = [self.shown.get(word, word) for word in group]
            parts = self.predictor.parts_of_words(group, self.options, names)
            self._print([each for part in parts for each in part])
        except DataError:
            for word in group:
                self._predict_one(word)
        else:
            self.inputs += len(group)
            self.advance(len(group))

    def end_what_was_printed(self) -> None:
        """Print the end of what was printed so far, if anything was."""
        if self.printed:
            self.show.end()

    def refuse_if_left_out(self) -> None:
        """Raise DataError if any input was left out, or any row of one."""
        inputs = f"{self.left_out:,} of {self.inputs:,} inputs"
        rows = f"{self.left_out_rows:,} of {self.rows:,} rows"
        counts = [inputs] * bool(self.left_out) + [rows] * bool(self.left_out_rows)
        if counts:
            raise DataError(
                f"{' and '.join(counts)} left out",
                "each is named above, with its reason",
                "replace or leave out these; the others are predicted",
            )

    def _predict_one(self, word: str) -> None:
        """Print the predictions for an input, which may be a table larger than the memory."""
        rows, share, predicted = LeftOutRows(), 0.0, 0
        name = self.shown.get(word, word)
        try:
            for part in self.predictor.parts_of_words([word], self.options, [name], rows):
                self._print(part)
                predicted += len(part)
                self.advance(max(0.0, rows.share - share), len(part))
                share = max(share, rows.share)
            unfit = list(rows.errors())
            if unfit and self.is_alone and not predicted:
                raise unfit[0]
        except DataError as error:
            self._note_left_out(self._named(error, word), predicted)
        for each in rows.errors():
            _say(self._named(each, word), "left out")
        self.inputs += 1
        self.rows += rows.rows
        self.left_out_rows += rows.count
        self.advance(1 - share)

    def _print(self, part: Sequence[Prediction]) -> None:
        self.show.add(part)
        self.printed += len(part)

    def _note_left_out(self, error: DataError, predicted: int) -> None:
        """Say that an input was left out, but for so many rows; raise the error of a single one."""
        if self.is_alone:
            if predicted:
                done = f"the {predicted:,} rows before it are predicted"
                error.why = f"{error.why}; {done}" if error.why else done
            raise error
        _say(error, f"left out behind {predicted:,} rows" if predicted else "left out")
        self.left_out += 1

    def _named(self, error: DataError, word: str) -> DataError:
        """Return an error that names standard input for what it is, not its copy in a file."""
        if word in self.shown and self.shown[word] != word:
            error.what = error.what.replace(word, "standard input")
        return error


def _say(error: DataError, how: str) -> None:
    """Print on stderr why something was left out."""
    why = f" ({error.why})" * bool(error.why)
    print(printable(f"{how}: {error.what}{why}"), file=sys.stderr)


@contextmanager
def _progress(total: int | None, holds_rows: bool) -> Iterator[Advance]:
    """Show a bar on the terminal while predictions go elsewhere, and give what moves it."""
    is_shown = sys.stderr.isatty() and not sys.stdout.isatty()
    of_rows = (TaskProgressColumn(), TextColumn("{task.fields[rows]:,} rows"))
    counts = of_rows if holds_rows else (MofNCompleteColumn(),)
    columns = (TextColumn("predicting"), BarColumn(), *counts, TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        task = bar.add_task("", total=total, rows=0)

        def advance(inputs: float, rows: int = 0) -> None:
            bar.advance(task, inputs)
            bar.update(task, rows=bar.tasks[task].fields["rows"] + rows)

        yield advance
