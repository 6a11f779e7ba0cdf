"""A look at a table of texts with labels."""

from collections.abc import Sequence
from typing import Any

from bptrain.data.first_look.found import Found, batch_size_of, imbalance_of
from bptrain.data.first_look.table_reading import Reading
from bptrain.data.notes import count, listed
from bptrain.data.tables.table import Table, quoted
from bptrain.data.tables.target_column import labels_of, task_of
from bptrain.data.text.text_table_config import TextTableConfig
from bptrain.errors import DataError
from bptrain.problem import Problem

TEXT_WORDS = 3  # of a cell in the mean, from which on it is a text and no name
LONGEST = 256  # tokens of a text that are read: more take longer to learn from
SHORTENED = 0.95  # of the texts are read whole
MOST_COUNTED = 65_536  # tokens of a text
CUTTING = ("delimiter", "encoding", "quoting", "header")  # keys that tables of texts have too


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
    keys = {key: value for key, value in reading.keys.items() if key in CUTTING}
    config = TextTableConfig(
        path=str(table.path), text_column=texts, label_column=label, max_length=MOST_COUNTED
    )
    whole, gaps = _rows(table, texts, label)
    counts = _counts(whole, label)
    lengths = [sum(1 for _ in config.symbols_in(text)) for text in whole.column(texts, "")]
    longest, why_so_long = length_to_read(lengths)
    data: dict[str, Any] = {"kind": "text_table", "path": str(table.path)}
    reasons = {"text_column": "texts, the only column that the label can be predicted from"}
    data["text_column"] = texts
    data["label_column"], reasons["label_column"] = label, f"{why} (--target NAME chooses another)"
    data["max_length"] = longest
    reasons["max_length"] = why_so_long
    data |= keys
    reasons |= {key: reading.reasons[key] for key in keys}
    if gaps:
        data["missing"], reasons["missing"] = "drop", f"{count(gaps, 'row')} without text or label"
    data["batch_size"] = batch_size_of(len(whole))
    shown = listed([f"{name} ({rows:,})" for name, rows in counts.items()])
    seen = [f"{count(len(table), 'text')} were read", f"guessed: classification into {shown}"]
    if left_out := [name for name in table.names if name not in (texts, label)]:
        seen.append(f"left out: {listed(left_out)}; of a text table one column of texts is read")
    problem = Problem(
        "classification", (longest,), len(counts), vocabulary=1, is_sequence=True, varies=True
    )
    return Found(data, reasons, seen, problem, len(whole), imbalance=imbalance_of(counts))


def _counts(table: Table, label: str) -> dict[str, int]:
    found = labels_of(table, label).value_counts(sort=True, name="rows")
    counts = dict(zip(found.to_series(0), found.to_series(1), strict=True))
    if len(counts) < 2:
        raise DataError(f"{table.path}: every label in column {quoted(label)} is the same")
    return counts


def _rows(table: Table, *names: str) -> tuple[Table, int]:
    """Return the rows with a text and a label, and how many others there are."""
    import numpy as np

    there = np.ones(len(table), bool)
    for name in names:
        cells = table.column(name, "")
        there &= ~(cells.is_null() | (cells.cast(str) == "").fill_null(value=False)).to_numpy()
    return table.select(np.flatnonzero(there)), int((~there).sum())


def length_to_read(lengths: Sequence[int]) -> tuple[int, str]:
    """Return how many tokens of a text are read, and why, given the lengths of some texts."""
    ordered = sorted(lengths)
    usual = max(1, ordered[int(SHORTENED * (len(ordered) - 1))])
    of_texts = f"of {count(len(ordered), 'text')}"
    if usual <= LONGEST:
        return usual, f"{of_texts} 95 % have no more words and marks"
    half = ordered[len(ordered) // 2]
    return LONGEST, f"{of_texts} half have {half:,} words and marks or more; longer ones are cut"
