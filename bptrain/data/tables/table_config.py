"""Tables with numeric and categorical columns: a CSV or Parquet file and a column to predict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.data.contents import SPLITS, checksum, content
from bptrain.data.notes import count, flattened, guessed_task, left_out_rows, shown_name
from bptrain.data.splits import (
    Dataset,
    InMemoryConfig,
    Parts,
    Samples,
    hold_out,
    refuse_rounded_targets,
)
from bptrain.data.tables.column_encoding import (
    Column,
    as_plain,
    columns_note,
    encode,
    fit_columns,
    from_plain,
    refuse_missing,
    unseen_categories,
    without_missing,
)
from bptrain.data.tables.csv_table import Delimiter
from bptrain.data.tables.table import Table, listed
from bptrain.data.tables.table_file import read_table
from bptrain.data.tables.target_column import (
    TableTask,
    class_targets,
    classes_of,
    number_targets,
    refuse_constant_numbers,
    task_of,
)
from bptrain.errors import DataError, UsageError
from bptrain.problem import Problem

TEST_FRACTION = 0.2
SCALE = "data.scale_target: true, which scales before it rounds"
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same rows

Name = Annotated[str, Field(min_length=1)]


class TableConfig(InMemoryConfig):
    """A CSV or Parquet table with a column to predict from the others.

    Numbers are standardized and categories one-hot encoded, by statistics of the training rows. A
    column is numeric if any of its cells is a number, else categorical. Cells that are empty, NA,
    N/A, NaN, null or ? (in any case) are missing.
    """

    kind: Literal["table"] = "table"
    path: str = Field(
        min_length=1,
        description="CSV, TSV or Parquet file whose first row names the columns. Files that end in "
        ".parquet or .pq need pyarrow: pip install 'bptrain[parquet]'",
    )
    target: str = Field(min_length=1, description="name of the column to predict")
    task: TableTask | None = Field(
        default=None,
        description="classification or regression. By default (null) classification if the target "
        "is text or has at most 20 different integers, else regression",
    )
    columns: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="names of the columns used as inputs; by default (null) all but the target. "
        "Set it to leave out columns such as an id",
    )
    categorical: list[Name] = Field(
        default=[],
        description="numeric columns to encode as categories (postal codes, ids of stations); by "
        "default only columns of text are",
    )
    missing: Literal["mean", "drop", "error"] = Field(
        default="mean",
        description="what to do with missing cells. mean: replace a missing number by the training "
        "mean, add an input that is 1 where it is missing, and make a missing category a category "
        "of its own. drop: leave out rows with a missing cell, the target's included. error: "
        "refuse the table. Except with drop, a missing target is an error",
    )
    delimiter: Delimiter = Field(
        default="auto",
        description="character between the cells of a CSV file. auto takes the one of , ; | and "
        "tab that splits the header into the most columns",
    )
    test_path: str | None = Field(
        default=None,
        min_length=1,
        description="file with the test rows, in the same columns. By default (null) they are "
        "drawn from path, see test_fraction",
    )
    test_fraction: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None,
        description="fraction of the rows used as the test split, the same rows for every seed. "
        "By default (null) 0.2, or 0 if test_path is set",
    )
    scale_target: bool = Field(
        default=False,
        description="regression only: train on (target - mean) / std of the training rows. Losses "
        "are then in units of std; metrics and predictions stay in the target's own unit. Set it "
        "where targets are large or far from 0",
    )

    @model_validator(mode="after")
    def _one_test_split(self) -> "TableConfig":
        if self.test_path is not None and self.test_fraction:
            raise ValueError("test_path and test_fraction both name the test rows: give one")
        return self

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation rows drawn by `seed`."""
        table = read_table(Path(self.path), self.delimiter)
        names = self._chosen(table)
        rows = len(table)
        table = self._whole(table, names)
        left_out = left_out_rows(rows - len(table), rows, "a cell is missing (data.missing: drop)")
        target = self._target(table)
        tables = self._split(table, target, names, seed)
        columns = fit_columns(tables["train"], table, names, self.categorical)
        samples = {
            name: Samples(torch.from_numpy(encode(columns, part)), target.of(part))
            for name, part in tables.items()
        }
        parts = Parts(samples["train"], samples.get("validation"), samples.get("test"))
        center, spread = 0.0, 1.0
        if self.scale_target:
            center, spread = mean_and_std(parts.train.targets)
        elif target.task == "regression":
            refuse_rounded_targets(
                parts.train.targets, f"{self.path}: column {self.target!r}", SCALE
            )
        parts = parts.map(lambda part: in_model_unit(part, center, spread))
        width = parts.train.inputs.shape[1]
        problem = Problem(
            target.task, (width,), target.outputs, names=target.names, center=center, spread=spread
        )
        prepared = {"columns": as_plain(columns)}
        contents = {
            name: content(
                len(part), *(checksum([part.cell_bytes(each)]) for each in (names, [self.target]))
            )
            for name, part in tables.items()
        }
        notes = flattened(
            guessed_task(target.task, self.task),
            [columns_note(columns)],
            left_out,
            unseen_notes(columns, tables),
        )
        return Dataset(
            problem, parts.train, parts.validation, parts.test, prepared, contents, notes
        )

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return the rows of another table with the training table's columns and its target."""
        columns = from_plain(prepared["columns"])
        table = read_table(path, self.delimiter)
        table = self._whole(table, [column.name for column in columns])
        target = Target(cast("TableTask", problem.task), self.target, problem.names)
        samples = Samples(torch.from_numpy(encode(columns, table)), target.of(table))
        return in_model_unit(samples, problem.center, problem.spread)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return the rows of tables with the training table's columns; they need no target."""
        columns = from_plain(prepared["columns"])
        inputs = []
        for word in words:
            table = read_table(Path(word), self.delimiter)
            if self.missing != "mean":
                hint = f"the run was trained without such rows: data.missing is {self.missing}"
                refuse_missing(table, [column.name for column in columns], hint)
            inputs.append(torch.from_numpy(encode(columns, table)))
        whole = torch.cat(inputs)
        return Samples(whole, torch.zeros(len(whole), dtype=torch.int64))

    def _chosen(self, table: Table) -> list[str]:
        """Return the columns to use as inputs, or raise for those that cannot be."""
        table.column(self.target, "data.target")
        chosen = self.columns or [name for name in table.names if name != self.target]
        for name in chosen:
            table.column(name, "data.columns")
        for name in self.categorical:
            table.column(name, "data.categorical")
        if not chosen:
            raise DataError(
                f"{table.path}: no column besides the target",
                f"its columns are {listed(table.names)}",
                "data.delimiter, if they should be more",
            )
        if self.target in chosen:
            raise UsageError(
                f"data.columns names the target {self.target!r}", "the target is not an input"
            )
        if unused := [name for name in self.categorical if name not in chosen]:
            raise UsageError(f"data.categorical names columns that are not used: {listed(unused)}")
        return list(dict.fromkeys(chosen))

    def _whole(self, table: Table, names: Sequence[str]) -> Table:
        """Return the rows that can be used, or raise DataError for one that may not be left out."""
        if self.missing == "drop":
            return without_missing(table, [*names, self.target])
        if self.missing == "error":
            refuse_missing(table, names, "data.missing: mean or drop")
        refuse_missing(table, [self.target], "data.missing: drop leaves rows without a target out")
        return table

    def _target(self, table: Table) -> "Target":
        task = self.task or task_of(table, self.target)
        if task == "classification" and self.scale_target:
            raise UsageError(
                "data.scale_target is for regression", "the target's values are classes"
            )
        if task == "classification":
            return Target(task, self.target, classes_of(table, self.target))
        refuse_constant_numbers(table, self.target)
        return Target(task, self.target, (self.target,))

    def _split(
        self, table: Table, target: "Target", names: Sequence[str], seed: int
    ) -> dict[str, Table]:
        """Return the rows of each split, by its name; a split without rows is left out."""
        targets = target.of(table)
        rows = Samples(torch.arange(len(targets)), targets)
        fraction = self.test_fraction
        if fraction is None:
            fraction = 0.0 if self.test_path is not None else TEST_FRACTION
        train, test = hold_out(rows, fraction, TEST_SEED)
        train, validation = hold_out(train, self.validation_fraction, seed)
        chosen = zip(SPLITS, (train, validation, test), strict=True)
        tables = {name: table.select(part.inputs.numpy()) for name, part in chosen if part}
        if self.test_path is not None:
            other = read_table(Path(self.test_path), self.delimiter)
            tables["test"] = self._whole(other, names)
        return tables


@dataclass(frozen=True)
class Target:
    """The target column; `names` are the classes, or the column itself for regression."""

    task: TableTask
    column: str
    names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Return the number of outputs of a model."""
        return len(self.names)

    def of(self, table: Table) -> Tensor:
        """Return the targets of a table's rows: classes [N], or numbers [N, 1]."""
        if self.task == "classification":
            # the classes are those of all rows: which there are defines the task, and is not a
            # statistic that must come from the training rows
            return class_targets(table, self.column, self.names)
        return number_targets(table, self.column)


def unseen_notes(columns: Sequence[Column], tables: Mapping[str, Table]) -> Iterator[str]:
    """Yield how many cells of each split hold a category that the training rows have not."""
    for split, table in tables.items():
        for column, number in unseen_categories(columns, table).items():
            cells = f"{count(number, 'cell')} of the {split} rows in column {shown_name(column)}"
            yield f"unseen: {cells}: no training row has its category, so no input stands for it"


def mean_and_std(targets: Tensor) -> tuple[float, float]:
    """Return the mean and standard deviation of the targets; of constant ones 1."""
    return float(targets.mean()), float(targets.std(correction=0)) or 1.0


def in_model_unit(samples: Samples, center: float, spread: float) -> Samples:
    """Return the samples with targets (target - center) / spread in float32; classes unchanged.

    In float64 until then: float32 rounds 1.7e9 + 1 to 1.7e9, and would leave nothing to scale.
    """
    if not samples.targets.is_floating_point():
        return samples
    return replace(samples, targets=((samples.targets - center) / spread).float())
