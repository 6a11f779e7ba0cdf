r"""Which image each row of a table names, and which column says what.

Names    paths below the images' folder, or absolute ones; with / or \ between folders. A name
         without an ending means the one image of that name, whatever its ending
Columns  of names: the one whose cells name the most images; of parts: one that says train, val or
         test in each row, in any usual spelling; to predict: the only other column
Rows     that name the same image and say the same of it count once
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bptrain.data.class_folders import part_of
from bptrain.data.file_tree import tree_of
from bptrain.data.images.image_formats import IMAGE
from bptrain.data.notes import count, listed
from bptrain.data.tables.table import Table, quoted
from bptrain.errors import DataError

LOOKED_AT = 1_000  # rows by which the columns are told
MOST_NAMES = 10  # that a message lists


class Columns(NamedTuple):
    """The columns of a table: of file names, to predict, and of the parts, if there is one."""

    file: str
    targets: tuple[str, ...]
    split: str | None


class ImageIndex:
    """The images below a folder, found by their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = tree_of(folder, IMAGE).files
        self.by_name = {_full(path): path for path in self.files}
        self.by_stem: dict[str, list[str]] = {}
        for name, path in self.by_name.items():
            self.by_stem.setdefault(str(Path(name).with_suffix("")), []).append(path)

    def path_of(self, name: str) -> str:
        """Return the path that a cell names, whether it is there or not, or raise DataError."""
        exact, stems = self._found(name)
        if len(stems) > 1 and exact is None:
            endings = listed([Path(each).suffix for each in stems])
            raise DataError(f"{self.folder / name}: several images of this name: {endings}")
        return exact or (stems[0] if stems else str(self.folder / name))

    def share_of(self, names: Sequence[str]) -> float:
        """Return which part of some cells name an image that is there."""
        found = [self._found(name) for name in names if name]
        there = sum(exact is not None or len(stems) == 1 for exact, stems in found)
        return there / max(1, len(names))

    def _found(self, name: str) -> tuple[str | None, Sequence[str]]:
        """Return the image of this name, and those that have it before their endings."""
        for spelled in (name, name.replace("\\", "/")):
            place = _full(self.folder / spelled)
            if place in self.by_name:
                return self.by_name[place], ()
        return None, self.by_stem.get(place, ())


def _full(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  resolve() would follow links


def columns_of(
    table: Table, index: ImageIndex, given: Columns, needs_target: bool = True
) -> Columns:
    """Return the columns that a config names, and those that it leaves to be found.

    given         "" for a column of names that is to be found, and () for one to predict
    needs_target  whether the table says what is to be predicted
    """
    file = given.file or file_column(table, index)
    split = given.split or next(iter(split_columns(table, {file, *given.targets})), None)
    if given.targets or not needs_target:
        return Columns(file, given.targets, split)
    others = [name for name in table.names if name not in (file, split)]
    if len(others) != 1:
        raise DataError(
            f"{table.path}: {'several columns' if others else 'no column'} to predict",
            f"besides the names in {quoted(file)}: {listed(others)}" if others else "",
            "data.target names one of them, or a list of columns of numbers",
        )
    return Columns(file, tuple(others), split)


def file_column(table: Table, index: ImageIndex) -> str:
    """Return the column whose cells name the most images, or raise DataError if none does."""
    shares = {name: index.share_of(_first_texts(table, name)) for name in table.names}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] == 0:
        raise DataError(
            f"{table.path}: no column names images below {index.folder}",
            f"{count(len(index.files), 'image')} there; the columns are {listed(table.names)}",
            "data.images, the folder that the names are below, or data.file_column",
        )
    return best


def names_images(table: Table) -> bool:
    """Tell whether most cells of a column are names of images by their endings."""
    shown = (_first_texts(table, name) for name in table.names)
    return any(sum(map(IMAGE.has, cells)) > len(cells) / 2 for cells in shown)


def split_columns(table: Table, others: Iterable[str]) -> list[str]:
    """Return the columns that say train, val or test in each row, besides some others."""
    taken = set(others)
    return [
        name
        for name in table.names
        if name not in taken
        and (parts := {part_of(str(cell)) for cell in table.column(name, "").unique().to_list()})
        and "train" in parts
        and None not in parts
    ]


def _first_texts(table: Table, name: str) -> list[str]:
    import polars as pl

    cells = table.column(name, "").head(LOOKED_AT)
    return cells.cast(pl.String).fill_null("").to_list()


class Named(NamedTuple):
    """The rows of a table that count, and the path that each of them names."""

    rows: np.ndarray
    paths: list[str]
    notes: list[str]


def named_images(table: Table, index: ImageIndex, columns: Columns) -> Named:
    """Return the path that each row names; raise DataError for rows that contradict each other."""
    import polars as pl

    names = table.column(columns.file, "data.file_column").cast(pl.String).fill_null("")
    if (empty := (names == "").arg_true()).len():
        raise DataError(
            f"{table.path}: {count(len(empty), 'row')} without a file name",
            f"in column {quoted(columns.file)}; the first is {table.place(empty[0])}",
        )
    others = [*columns.targets, *([columns.split] if columns.split else [])]
    said = list(zip(*(table.column(each, "data.target").to_list() for each in others), strict=True))
    first: dict[str, int] = {}
    repeated = 0
    for row, name in enumerate(names.to_list()):
        path = index.path_of(name)
        before = first.setdefault(path, row)
        if before != row:
            repeated += 1
            if others and said[before] != said[row]:
                raise DataError(
                    f"{table.path}: {table.place(before)} and {table.place(row)} both name {path}",
                    f"one says {_shown(said[before])}, the other {_shown(said[row])}",
                    "one row for each image",
                )
    notes = [f"left out: {count(repeated, 'row')} that say again what another says"] * bool(
        repeated
    )
    return Named(np.array(list(first.values())), list(first), [*notes, *_unnamed(index, first)])


def _shown(cells: Sequence[object]) -> str:
    return ", ".join(quoted(str(cell)) for cell in cells)


def _unnamed(index: ImageIndex, named: Mapping[str, int]) -> list[str]:
    """Return how many images no row names."""
    others = [path for path in index.files if path not in named]
    names = [str(Path(path).relative_to(index.folder)) for path in others]
    if not others:
        return []
    return [f"ignored: {count(len(others), 'image')} that no row names: {listed(names, 5)}"]


def parts_of_rows(table: Table, column: str) -> dict[str, np.ndarray]:
    """Return the rows of each part, by the column that says it, or raise DataError."""
    cells = table.column(column, "data.split_column").to_list()
    parts = [part_of(str(cell)) for cell in cells]
    for row, part in enumerate(parts):
        if part is None:
            raise DataError(
                f"{table.path}: {quoted(str(cells[row]))} in column {quoted(column)} is no part",
                f"{table.place(row)}; known are train, val and test, and other spellings of these",
            )
    found = {
        part: np.flatnonzero([each == part for each in parts]) for part in dict.fromkeys(parts)
    }
    if "train" not in found:
        raise DataError(f"{table.path}: no row of column {quoted(column)} says train")
    return {str(part): rows for part, rows in found.items()}
