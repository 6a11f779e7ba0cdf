"""Your own images: a table that names them, with a class or numbers for each."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field
from torch import Tensor

from bptrain.config.paths import DataPath, located
from bptrain.data.class_folders import FileList, Listing
from bptrain.data.images.image_files_config import ImageFilesConfig
from bptrain.data.images.labelled_images import (
    Columns,
    ImageIndex,
    Named,
    columns_of,
    named_images,
    parts_of_rows,
)
from bptrain.data.notes import guessed_task, left_out_rows
from bptrain.data.splits import Dataset, Split
from bptrain.data.tables.missing_cells import refuse_missing, without_missing
from bptrain.data.tables.reading_keys import Name, TableReadingConfig
from bptrain.data.tables.table import Table
from bptrain.data.tables.table_config import in_unit, mean_and_std
from bptrain.data.tables.table_file import read_table
from bptrain.data.tables.target_column import TableTask, Target, target_of
from bptrain.problem import Problem

UNLABELLED = "data.missing_target: drop leaves rows without a target out"


class ImageTableConfig(ImageFilesConfig, TableReadingConfig):
    """Your own images, named by a table with a class or numbers for each.

    A CSV, TSV or Parquet file such as labels.csv, with a row for each image: its file name, what is
    to be predicted, and perhaps whether it is for training, validation or testing.
    """

    kind: Literal["image_table"] = "image_table"
    path: DataPath = Field(min_length=1, description="CSV, TSV or Parquet file")
    images: DataPath | None = Field(
        default=None,
        description="folder that the names in the table are below; by default (null) the table's",
    )
    file_column: Name | None = Field(
        default=None,
        description="column of the file names, which may be paths, absolute ones too, and lack "
        "their ending. By default (null) the column whose cells name the most images",
    )
    target: Name | list[Name] | None = Field(
        default=None,
        description="column to predict, or a list of columns of numbers. By default (null) the "
        "only one besides those of file names and parts",
    )
    split_column: Name | None = Field(
        default=None,
        description="column that says of each image whether it is for train, val or test, in any "
        "usual spelling. By default (null) one that says that in each row; where there is none, "
        "images are held out by test_fraction and validation_fraction",
    )
    task: TableTask | None = Field(
        default=None,
        description="classification or regression. By default (null) classification if the target "
        "is text or has at most 20 different integers, else regression",
    )
    missing_target: Literal["error", "drop"] = Field(
        default="error",
        description="what to do with rows without a target: refuse the table, or leave them out",
    )
    scale_target: bool = Field(
        default=True,
        description="regression only: train on (target - mean) / std of the training images. "
        "Losses are then in units of std; metrics and predictions stay in the target's own unit",
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict, as far as they are named."""
        return tuple([self.target] if isinstance(self.target, str) else self.target or [])

    def build(self, seed: int) -> Dataset:
        """Return the data set, after decoding every file; `seed` selects the validation images."""
        index = self.index(Path(self.path))
        table, columns, notes = self.table(Path(self.path), index, self.columns)
        target = target_of(table, columns.targets, self.task)
        named = named_images(table, index, columns)
        table = table.select(named.rows)
        listing = listing_of(named, table, columns, target)
        notes = [*notes, *guessed_task(target.task, self.task)]
        listing = listing._replace(notes=(found_note(columns), *notes, *listing.notes))
        dataset = self.dataset(listing, index.folder, self.path, seed)
        stored = {"columns": [columns.file, *columns.targets], "units": list(target.units)}
        dataset = replace(dataset, prepared={**dataset.prepared, **stored})
        if target.task == "regression":
            dataset = self.of_numbers(dataset, target)
        return self.augmented(dataset)

    def of_numbers(self, dataset: Dataset, target: Target) -> Dataset:
        """Return a data set of numbers to predict, in the model's unit."""
        scale = mean_and_std(dataset.train.targets) if self.scale_target else (0.0, 1.0)
        problem = Problem("regression", self.shape.chw, len(target.columns), names=target.columns)
        problem = replace(problem, center=scale[0], spread=scale[1])
        splits = {
            name: with_targets(split, in_unit(split.targets, *scale))
            for name in ("train", "validation", "test")
            if (split := getattr(dataset, name)) is not None
        }
        return replace(dataset, problem=problem, **cast("dict[str, Any]", splits))

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Split:
        """Return the images that another table names, with its columns and classes of training."""
        index = self.index(path)
        file, *targets = prepared["columns"]
        table, columns, _ = self.table(path, index, Columns(file, tuple(targets), None))
        named = named_images(table, index, columns._replace(split=None))
        task = cast("TableTask", problem.task)
        target = Target(task, columns.targets, problem.names, tuple(prepared["units"]))
        targets_of_rows = target.of(table.select(named.rows))
        split = self.labelled_files(
            FileList(tuple(named.paths), targets_of_rows), index.folder, prepared
        )
        if task == "classification":
            return split
        return with_targets(split, in_unit(split.targets, problem.center, problem.spread))

    @property
    def columns(self) -> Columns:
        """The columns that the config names."""
        return Columns(self.file_column or "", self.targets, self.split_column)

    def index(self, path: Path) -> ImageIndex:
        """Return the images that a table may name."""
        return ImageIndex(path.parent if self.images is None else located(self.images))

    def table(
        self, path: Path, index: ImageIndex, given: Columns
    ) -> tuple[Table, Columns, list[str]]:
        """Return a table's rows with a target, its columns, and how many rows have none."""
        whole = read_table(path, self.dialect, self.cell_format)
        columns = columns_of(whole, index, given)
        if self.missing_target == "drop":
            table = without_missing(whole, columns.targets, "missing_target")
            left_out = len(whole) - len(table)
            return table, columns, left_out_rows(left_out, len(whole), "without a target")
        refuse_missing(whole, columns.targets, UNLABELLED)
        return whole, columns, []


def listing_of(named: Named, table: Table, columns: Columns, target: Target) -> Listing:
    """Return the images of a table by split, with their classes or numbers."""
    targets = target.of(table)
    classes = target.names if target.task == "classification" else ()

    def images(rows: np.ndarray) -> FileList:
        return FileList(tuple(named.paths[row] for row in rows), targets[rows])

    if columns.split is None:
        everyone = images(np.arange(len(named.paths)))
        return Listing(classes, everyone, None, None, is_split=False, notes=tuple(named.notes))
    parts = {part: images(rows) for part, rows in parts_of_rows(table, columns.split).items()}
    return Listing(
        classes,
        parts["train"],
        parts.get("val"),
        parts.get("test"),
        is_split=True,
        notes=tuple(named.notes),
    )


def found_note(columns: Columns) -> str:
    """Return which column says what."""
    parts = f", parts in {columns.split!r}" if columns.split else ""
    shown = ", ".join(map(repr, columns.targets))
    return f"file names in column {columns.file!r}, targets in {shown}{parts}"


def with_targets(split: Split, targets: Tensor) -> Split:
    """Return a split with other targets."""
    held: Any = split
    changed: Split = replace(held, targets=targets)
    return changed
