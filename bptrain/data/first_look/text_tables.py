"""A look at a table of texts with labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bptrain.data.first_look.found import Found, batch_size_of, imbalance_of
from bptrain.data.first_look.table_reading import Reading
from bptrain.data.notes import count, listed
from bptrain.data.tables.csv_columns import SUFFIXES, TABULATED
from bptrain.data.tables.csv_dialect import Dialect
from bptrain.data.tables.table import Table, quoted
from bptrain.data.tables.target_column import labels_of, task_of
from bptrain.data.text.text_table_config import TextTableConfig
from bptrain.errors import DataError
from bptrain.problem import Problem

TEXT_WORDS = 3  # of a cell in the mean, from which on it is a text and no name
SHORTENED = 0.95  # of the texts are read whole
HEADER_BYTES = 2**16


def text_column_of(table: Table, target: str, used: Sequence[str]) -> str | None:
    """Return the column of texts where it is all that the target can be predicted from.

    used  the columns that could be inputs of a table
    """
    words = {name: _mean_words(table, name) for name in table.names if name != target}
    texts = {name for name, mean in words.items() if mean >= TEXT_WORDS}
    if not texts or not texts.issuperset(used) or task_of(table, target) != "classification":
        return None
    return max(texts, key=lambda name: words[name])


def _mean_words(table: Table, name: str) -> float:
    import polars as pl

    cells = table.column(name, "")
    if cells.dtype != pl.String:
        return 0.0
    written = cells.filter(cells != "")
    return int(written.str.count_matches(r"\S+").sum()) / max(1, len(written))


def look_at_labelled_texts(reading: Reading, texts: str, label: str, why: str) -> Found:
    """Return what a table of texts and labels holds; raise DataError for what is not read.

    why  the evidence that `label` is the column of labels
    """
    table = reading.table
    _refuse_other_forms(reading)
    _refuse_gaps(table, (texts, label))
    counts = _counts(table, label)
    config = TextTableConfig(path=str(table.path), text_column=texts, label_column=label)
    lengths = sorted(len(list(config.symbols_in(text))) for text in table.column(texts, ""))
    longest = max(1, lengths[int(SHORTENED * (len(lengths) - 1))])
    data: dict[str, Any] = {"kind": "text_table", "path": str(table.path)}
    reasons = {"text_column": "texts, the only column that the label can be predicted from"}
    data["text_column"] = texts
    data["label_column"], reasons["label_column"] = label, f"{why} (--target NAME chooses another)"
    data["max_length"] = longest
    reasons["max_length"] = f"of {count(len(lengths), 'text')} 95 % have no more words and marks"
    data |= {key: value for key, value in reading.keys.items() if key == "quoting"}
    reasons |= reading.reasons
    data["batch_size"] = batch_size_of(len(table))
    shown = listed([f"{name} ({rows:,})" for name, rows in counts.items()])
    seen = [f"{count(len(table), 'text')} were read", f"guessed: classification into {shown}"]
    if left_out := [name for name in table.names if name not in (texts, label)]:
        seen.append(f"left out: {listed(left_out)}; of a text table one column of texts is read")
    problem = Problem(
        "classification", (longest,), len(counts), vocabulary=1, is_sequence=True, varies=True
    )
    return Found(data, reasons, seen, problem, len(table), imbalance=imbalance_of(counts))


def _counts(table: Table, label: str) -> dict[str, int]:
    found = labels_of(table, label).value_counts(sort=True, name="rows")
    counts = dict(zip(found.to_series(0), found.to_series(1), strict=True))
    if len(counts) < 2:
        raise DataError(f"{table.path}: every label in column {quoted(label)} is the same")
    return counts


def _refuse_other_forms(reading: Reading) -> None:
    """Raise DataError for a table in a form that tables of texts are not read in."""
    path = reading.table.path
    others = sorted(reading.keys.keys() - {"quoting"})
    if path.suffix.lower() not in SUFFIXES:
        others.append(f"a name that ends in {path.suffix or 'nothing'}")
    elif (separator := _separator(path, reading)) != _expected_separator(path):
        others.append(f"cells separated by {separator!r}")
    if others:
        raise DataError(
            f"{path}: a table of texts, in a form that these are not read in",
            f"it needs {', '.join(others)}",
            "save it as CSV in UTF-8 with commas, or as .tsv with tabs",
        )


def _expected_separator(path: Path) -> str:
    return "\t" if path.suffix.lower() in TABULATED else ","


def _separator(path: Path, reading: Reading) -> str:
    with path.open("rb") as file:
        header = file.readline(HEADER_BYTES).decode("utf-8", "replace")
    return Dialect(quoting=reading.keys.get("quoting", "double")).separator(header)


def _refuse_gaps(table: Table, names: Sequence[str]) -> None:
    """Raise DataError for rows without a text or a label, which training would refuse."""
    for name in names:
        if (empty := (table.column(name, "") == "").arg_true()).len():
            raise DataError(
                f"{table.path}: {count(len(empty), 'empty cell')} in column {quoted(name)}",
                f"the first in {table.place(empty[0])}",
                "fill them in, or remove their rows",
            )
