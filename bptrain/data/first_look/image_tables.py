"""A look at a table that names images, such as labels.csv: its columns, and the images."""

from pathlib import Path
from typing import Any

from bptrain.data.first_look.found import Found, imbalance_of
from bptrain.data.first_look.images import HELD_OUT_KEYS, add_fractions, add_sizes, shape_of
from bptrain.data.first_look.table_reading import Reading, first_rows
from bptrain.data.first_look.target_guess import OPTION, guess_target
from bptrain.data.images.labelled_images import (
    Columns,
    ImageIndex,
    columns_of,
    file_column,
    named_images,
    names_images,
    parts_of_rows,
    split_columns,
)
from bptrain.data.notes import count, listed
from bptrain.data.tables.missing_cells import without_missing
from bptrain.data.tables.table import Table, quoted
from bptrain.data.tables.table_file import TABLES
from bptrain.data.tables.target_column import labels_of, task_of
from bptrain.errors import DataError
from bptrain.problem import Problem

LEAST_SHARE = 0.5  # of the first rows that name an image which is there


def table_of_images(folder: Path) -> Path | None:
    """Return the table directly in a folder that names its images, if there is one."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in TABLES and path.is_file() and not path.name.startswith("."):
            try:
                table, index = first_rows(path).table, ImageIndex(folder)
                cells = table.column(file_column(table, index), "").head(1_000).to_list()
            except DataError:  # a table of something else
                continue
            if index.share_of([str(cell) for cell in cells]) >= LEAST_SHARE:
                return path
    return None


def is_table_of_images(path: Path) -> bool:
    """Tell whether a table names images by their endings; its folder is not searched for them."""
    try:
        return names_images(first_rows(path).table)
    except DataError:  # which is said by the look at the table
        return False


def look_at_image_table(path: Path, target: str | None) -> Found:
    """Return what a table of images holds; raise DataError or UsageError where it cannot be told.

    target  the column to predict; None to guess it
    """
    reading, index = first_rows(path), ImageIndex(path.parent)
    columns, why = _columns(reading, index, target)
    name = columns.targets[0]
    whole = reading.with_target(name).table
    labelled = without_missing(whole, columns.targets, "missing_target")
    named = named_images(labelled, index, columns)
    table = labelled.select(named.rows)
    task = task_of(table, name)
    data: dict[str, Any] = {"kind": "image_table", "path": str(path), "file_column": columns.file}
    reasons = {"file_column": "its cells name images that are there"}
    data["target"], reasons["target"] = name, f"{why} ({OPTION} chooses another)"
    data["task"] = task
    if columns.split:
        data["split_column"], reasons["split_column"] = columns.split, "it says train, val or test"
    data |= reading.keys
    reasons |= reading.reasons
    if gaps := len(whole) - len(labelled):
        data["missing_target"] = "drop"
        reasons["missing_target"] = f"{count(gaps, 'row')} without a target"
    reasons |= add_sizes(data, index.folder, named.paths)
    reasons |= add_fractions(data, len(named.paths), _held_out(table, columns))
    counts: dict[str, int] = {}
    if task == "classification":
        found = labels_of(table, name).value_counts(sort=True, name="rows")
        counts = dict(zip(found.to_series(0), found.to_series(1), strict=True))
    problem = Problem(task, shape_of(data), len(counts) or 1, names=tuple(counts) or (name,))
    shown = listed([f"{each} ({number:,})" for each, number in counts.items()], 20)
    seen = [f"{count(len(named.paths), 'image')} that {path.name} names in {quoted(columns.file)}"]
    seen.append(f"guessed: {task}" + f" into {shown}" * bool(counts))
    imbalance = imbalance_of(counts) if counts else ""
    return Found(
        data, reasons, [*seen, *named.notes], problem, len(named.paths), imbalance=imbalance
    )


def _columns(reading: Reading, index: ImageIndex, target: str | None) -> tuple[Columns, str]:
    """Return the columns of a table, and why one of them is taken for the target."""
    table = reading.table
    if target is not None:
        table.column(target, OPTION)
        return columns_of(table, index, Columns("", (target,), None)), f"given by {OPTION}"
    file = file_column(table, index)
    parts = split_columns(table, [file])
    others = [name for name in table.names if name not in (file, *parts[:1])]
    if len(others) == 1:
        target, why = others[0], "the only column besides the names"
    else:
        target, why = guess_target(table, [file, *parts[:1], *reading.findings.empty])
    return Columns(file, (target,), parts[0] if parts else None), why


def _held_out(table: Table, columns: Columns) -> list[str]:
    """Return the keys of the parts that the table does not name."""
    if columns.split is None:
        return list(HELD_OUT_KEYS)
    return [] if "val" in parts_of_rows(table, columns.split) else [HELD_OUT_KEYS[0]]
