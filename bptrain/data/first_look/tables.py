"""A look at a table: columns by type, the target, what is left out, or texts with labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bptrain.data.first_look.found import Found, batch_size_of, imbalance_of
from bptrain.data.first_look.table_reading import Reading, first_rows
from bptrain.data.first_look.target_guess import OPTION, guess_target, id_columns_of
from bptrain.data.first_look.text_tables import look_at_labelled_texts, text_column_of
from bptrain.data.notes import count, listed
from bptrain.data.tables.bad_cells import BadCells
from bptrain.data.tables.cell_format import moments
from bptrain.data.tables.column_encoding import Categorical, Column, Dated, Numeric
from bptrain.data.tables.column_fitting import MIXED, ColumnKeys, fit_columns
from bptrain.data.tables.missing_cells import without_missing
from bptrain.data.tables.table import Table, quoted
from bptrain.data.tables.target_column import MOST_INTEGER_CLASSES, Target, labels_of, target_of
from bptrain.errors import DataError
from bptrain.problem import Problem

LEAST_ROWS = 10
KINDS: dict[type[Column], str] = {
    Numeric: "numbers, scaled to mean 0 and standard deviation 1",
    Dated: "dates, as days and as parts of the year, week and day",
    Categorical: "categories, an input for each",
}


def look_at_table(path: Path, target: str | None) -> Found:
    """Return what a table holds; raise DataError or UsageError where it cannot be told.

    target  the column to predict; None to guess it
    """
    reading = first_rows(path)
    table, findings = reading.table, reading.findings
    if target is None:
        target, why = guess_target(table, [*findings.empty, *findings.names])
    else:
        table.column(target, OPTION)
        why = f"given by {OPTION}"
    reading = reading.with_target(target)
    columns = _Columns(reading, target)
    if (texts := text_column_of(reading.table, target, columns.used)) is not None:
        return look_at_labelled_texts(reading, texts, target, why)
    return _found(reading, columns, why)


class _Columns:
    """The columns of a table besides the target: those that are used, and why others are not."""

    def __init__(self, reading: Reading, target: str) -> None:
        self.table, self.target = reading.table, target
        findings = reading.findings
        forms = {name: form for name, (_, form) in findings.dates.items()}
        self.dates = {name: form for name, form in forms.items() if self._all_dates(name, form)}
        why = dict.fromkeys(findings.empty, "is empty")
        why |= {name: f"{text}: names or free text" for name, text in findings.names.items()}
        why |= {each.column: self._said(each) for each in reading.bad_cells}
        why |= {name: "holds dates in several forms" for name in forms if name not in self.dates}
        why |= dict.fromkeys(self._row_numbers(), "numbers the rows")
        why |= dict.fromkeys(self._constants(), "is the same in every row")
        self.excluded = {name: why[name] for name in self.table.names if name in why}
        self._refuse_mistakes(reading.bad_cells)
        self.excluded.pop(target, None)
        self.dates.pop(target, None)
        left_out = {*self.excluded, target}
        self.used = [name for name in self.table.names if name not in left_out]

    def _all_dates(self, name: str, form: str) -> bool:
        cells = self.table.column(name, "")
        present = cells.filter(~self.table.format.is_missing(cells))
        return not moments(present, form).has_nulls()

    def _said(self, bad: BadCells) -> str:
        place = self.table.place(int(bad.rows[0]))
        return f"holds {count(len(bad.rows), 'wrong cell')}: {quoted(bad.cells[0])} in {place}"

    def _refuse_mistakes(self, bad_cells: Sequence[BadCells]) -> None:
        """Raise DataError for a few wrong cells among a target's numbers: they are no classes."""
        cells = self.table.column(self.target, OPTION)
        for bad in bad_cells:
            are_few = len(bad.rows) <= MIXED * len(cells)
            if bad.column == self.target and are_few and cells.n_unique() > MOST_INTEGER_CLASSES:
                raise DataError(
                    f"{self.table.path}: target column {quoted(self.target)} {self._said(bad)}",
                    bad.others,
                    bad.hint,
                )

    def _row_numbers(self) -> Iterator[str]:
        """Yield columns named as ids that are all different, and those that count the rows."""
        import polars as pl

        yield from id_columns_of(self.table)
        for name in self.table.names:
            cells = self.table.column(name, "")
            if cells.dtype != pl.String and not cells.has_nulls() and len(cells) >= LEAST_ROWS:
                steps = cells.diff().drop_nulls()
                if bool((steps == 1).all()):
                    yield name

    def _constants(self) -> Iterator[str]:
        return (name for name in self.table.names if self.table.column(name, "").n_unique() == 1)


@dataclass(frozen=True)
class _Rows:
    """The rows with a target, fitted as training fits them."""

    table: Table
    target: Target
    columns: Sequence[Column]
    dropped: int


def _fitted(columns: _Columns) -> _Rows:
    """Return the rows with a target; raise DataError for what training would refuse."""
    table, name = columns.table, columns.target
    if not columns.used:
        raise DataError(
            f"{table.path}: no column is left to predict {quoted(name)} from",
            "; ".join(f"{quoted(each)} {why}" for each, why in columns.excluded.items()),
            f"{OPTION}, if it is another, or bptrain init table for a config to fill in",
        )
    known = without_missing(table, [name], "missing_target")
    if len(known) < LEAST_ROWS:
        raise DataError(
            f"{table.path}: {count(len(known), 'row')} with a target",
            f"at least {LEAST_ROWS} are needed to train and to test on others",
        )
    keys = ColumnKeys((), columns.dates, tuple(columns.excluded))
    fitted = fit_columns(known, known, columns.used, keys)
    return _Rows(known, target_of(known, [name], None), fitted, len(table) - len(known))


def _found(reading: Reading, columns: _Columns, why: str) -> Found:
    rows = _fitted(columns)
    task, name = rows.target.task, columns.target
    is_class = task == "classification"
    counts = _counts(labels_of(rows.table, name)) if is_class else {}
    data: dict[str, Any] = {"kind": "table", "path": str(reading.table.path), "target": name}
    reasons = {"target": f"{why} ({OPTION} chooses another)"}
    data["task"], reasons["task"] = task, _task_evidence(rows.target, counts)
    if not is_class:
        data["scale_target"] = True
        reasons["scale_target"] = (
            "the model predicts (target - mean) / std; errors stay in its unit"
        )
    if columns.excluded:
        data["exclude"] = list(columns.excluded)
        reasons["exclude"] = f"left out: {_listed_reasons(columns.excluded)}"
    if columns.dates:
        data["dates"] = dict(columns.dates)
        reasons["dates"] = "the form of the dates, in strptime's letters, that fits every cell"
    if rows.dropped:
        data["missing_target"] = "drop"
        reasons["missing_target"] = f"{count(rows.dropped, 'row')} without a target"
    data |= reading.keys
    reasons |= reading.reasons
    data["batch_size"] = batch_size_of(len(rows.table))
    outputs = len(rows.target.names)
    width = sum(column.width for column in rows.columns)
    problem = Problem(task, (width,), outputs, names=rows.target.names)
    seen = [*_seen(reading.table, rows), count(width, "input")]
    return Found(data, reasons, seen, problem, len(rows.table), imbalance=_imbalance(counts))


def _counts(labels: Any) -> dict[str, int]:
    found = labels.value_counts(sort=True, name="rows")
    return dict(zip(found.to_series(0), found.to_series(1), strict=True))


def _imbalance(counts: Mapping[str, int]) -> str:
    return imbalance_of(counts) if counts else ""


def _task_evidence(target: Target, counts: Mapping[str, int]) -> str:
    if not counts:
        return "guessed: the target holds numbers, not few different integers"
    shown = listed([f"{name} ({rows:,})" for name, rows in counts.items()])
    return f"guessed: the target has {len(counts):,} different values, the classes: {shown}"


def _listed_reasons(excluded: Mapping[str, str]) -> str:
    return "; ".join(f"{quoted(name)} {why}" for name, why in excluded.items())


def _seen(table: Table, rows: _Rows) -> Iterator[str]:
    """Yield what there is: rows, and columns by type."""
    first = "the first " * table.is_part
    more = "; the file has more, which may hold what these do not" * table.is_part
    yield f"{first}{count(len(table), 'row')} of {len(table.names):,} columns were read{more}"
    for kind, text in KINDS.items():
        names = [_with_gaps(column) for column in rows.columns if type(column) is kind]
        if names:
            yield f"{text}: {listed(names, 30)}"
    if table.indexes:
        yield "the first column has no name: row numbers, which are ignored"


def _with_gaps(column: Column) -> str:
    has_gaps = "" in column.categories if isinstance(column, Categorical) else column.indicator
    unit = f" in {column.unit}" if isinstance(column, Numeric) and column.unit else ""
    return f"{column.name}{unit}" + " (with gaps)" * has_gaps
