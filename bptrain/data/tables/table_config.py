"""Tables with numeric and categorical columns: a CSV or Parquet file and a column to predict."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.config.paths import DataPath, located
from bptrain.data.contents import SPLITS, checksum, content
from bptrain.data.file_tree import FileKind
from bptrain.data.given_arrays import Array
from bptrain.data.notes import count, flattened, guessed_task, left_out_rows, shown_name
from bptrain.data.splits import (
    Dataset,
    Parts,
    Samples,
    hold_out,
    refuse_rounded_targets,
)
from bptrain.data.tables.column_encoding import (
    Column,
    as_plain,
    columns_note,
    decode,
    encode,
    from_plain,
    rows_of_a_part,
    text_columns,
    unseen_categories,
)
from bptrain.data.tables.column_fitting import ColumnKeys, fit_columns, id_columns
from bptrain.data.tables.given_rows import stacked_rows, table_of_rows
from bptrain.data.tables.left_out_rows import LeftOutRows, Part
from bptrain.data.tables.missing_cells import refuse_missing, without_missing
from bptrain.data.tables.reading_keys import Name, TableReadingConfig
from bptrain.data.tables.table import Table, listed
from bptrain.data.tables.table_file import TABLE
from bptrain.data.tables.target_column import TableTask, Target, target_of
from bptrain.data.tables.unfit_rows import UnfitRows
from bptrain.errors import DataError, UsageError
from bptrain.problem import Problem, Scale

TEST_FRACTION = 0.2
SCALE = "data.scale_target: true, which scales before it rounds"
TEST_SEED = 0  # fixed: every run, whatever its seed, is tested on the same rows


class TableConfig(TableReadingConfig):
    """A CSV or Parquet table with one or more columns to predict from the others.

    Numbers are standardized, dates become numbers and parts of the year, week and day, and
    categories are one-hot encoded, by statistics of the training rows. A column is numeric if any
    of its cells is a number, of dates if all are ISO dates, else categorical.
    """

    input_files: ClassVar[FileKind] = TABLE
    input_kind: ClassVar[str] = "row"

    kind: Literal["table"] = "table"
    path: DataPath = Field(
        description="CSV, TSV or Parquet file whose first row names the columns. Files that end in "
        ".parquet or .pq need pyarrow: pip install 'bptrain[parquet]'",
    )
    target: Name | list[Name] = Field(
        description="name of the column to predict, or a list of columns of numbers",
    )
    task: TableTask | None = Field(
        default=None,
        description="classification or regression. By default (null) classification if the target "
        "is text or has at most 20 different integers, else regression; several targets are always "
        "regression",
    )
    columns: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="names of the columns used as inputs; by default (null) all but the target and "
        "those that exclude names",
    )
    exclude: list[Name] = Field(
        default=[],
        description="names of columns that are no inputs, such as ids, names and free text; the "
        "others are, see columns",
    )
    categorical: list[Name] = Field(
        default=[],
        description="columns of numbers or dates to encode as categories (postal codes, ids of "
        "stations); by default only columns of text are. Numbers and truth values are compared by "
        "value: 2 is 2.0 and True is TRUE, but 02 is another",
    )
    dates: dict[Name, Name] = Field(
        default={},
        description="columns of dates that are not written like 2024-02-29 12:30 (those are found "
        "by themselves), each with its form in the letters of strptime, such as "
        "{sold: '%d.%m.%Y'}. Inputs are days, and sine and cosine of the time of year, of the week "
        "and, where there are times, of the day",
    )
    missing: Literal["mean", "drop", "error"] = Field(
        default="mean",
        description="what to do with missing cells. mean: replace a missing number by the training "
        "mean, add an input that is 1 where it is missing, and make a missing category a category "
        "of its own. drop: leave out rows with a missing cell, the target's included. error: "
        "refuse the table. For targets alone see missing_target",
    )
    missing_target: Literal["error", "drop"] = Field(
        default="error",
        description="what to do with rows without a target, or without one of several: refuse the "
        "table, or leave them out, whatever else they miss (drop)",
    )
    test_path: DataPath | None = Field(
        default=None,
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
    def _keys_are_consistent(self) -> "TableConfig":
        if self.test_path is not None and self.test_fraction:
            raise ValueError("test_path and test_fraction both name the test rows: give one")
        if self.columns is not None and self.exclude:
            raise ValueError("columns and exclude both choose the inputs: give one")
        if len(set(self.targets)) != len(self.targets) or not self.targets:
            raise ValueError("target names no column, or one of them twice")
        return self

    @property
    def targets(self) -> list[str]:
        """The columns to predict."""
        return [self.target] if isinstance(self.target, str) else self.target

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation rows drawn by `seed`."""
        texts = [*self.targets, *self.categorical, *self.dates]
        table = self.read(Path(self.path), texts)
        names = self._chosen(table)
        whole = self._whole(table, names)
        target = self._target(whole)
        tables = self._split(whole, target, seed)
        keys = ColumnKeys(self.categorical, self.dates, self.exclude)
        columns = fit_columns(tables["train"], whole, names, keys)
        if self.test_path is not None:
            other = self.read(Path(self.test_path), [*self.targets, *text_columns(columns)])
            tables["test"] = self._whole(other, names)
        samples = {
            name: Samples(torch.from_numpy(encode(columns, part)), target.of(part))
            for name, part in tables.items()
        }
        parts = Parts(samples["train"], samples.get("validation"), samples.get("test"))
        center, spread = self._scale(target, parts.train.targets)
        parts = parts.map(lambda part: in_model_unit(part, center, spread))
        width = parts.train.inputs.shape[1]
        problem = Problem(
            target.task,
            (width,),
            len(target.names),
            names=target.names,
            center=center,
            spread=spread,
        )
        contents = {
            name: content(
                len(part), *(checksum(part.cell_bytes(each)) for each in (names, self.targets))
            )
            for name, part in tables.items()
        }
        notes = flattened(
            guessed_task(target.task, self.task),
            [columns_note(columns)],
            self._left_out(table, whole),
            row_number_notes(table, names),
            unseen_notes(columns, tables),
        )
        prepared = {"columns": as_plain(columns), "units": list(target.units)}
        return Dataset(
            problem, parts.train, parts.validation, parts.test, prepared, contents, notes
        )

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return the rows of another table with the training table's columns and its targets."""
        columns = from_plain(prepared["columns"])
        table = self.read(path, [*self.targets, *text_columns(columns)])
        table = self._whole(table, [column.name for column in columns])
        task = cast("TableTask", problem.task)
        target = Target(task, tuple(self.targets), problem.names, tuple(prepared["units"]))
        samples = Samples(torch.from_numpy(encode(columns, table)), target.of(table))
        return in_model_unit(samples, problem.center, problem.spread)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return the rows of tables with the training table's columns; they need no target."""
        columns = from_plain(prepared["columns"])
        tables = (self.read(located(word), text_columns(columns)) for word in words)
        return self._encoded(tables, columns)

    def names_table(self, _word: str) -> bool:
        """Tell whether a word to predict is a table of many rows."""
        return True

    def prepare_parts(
        self, path: Path, prepared: Mapping[str, Any], batch_size: int, left_out: LeftOutRows
    ) -> Iterator[Part]:
        """Yield the rows of a table as `prepare` does, whole batches of them at a time.

        Rows with a cell that cannot be read are left out, and noted.
        """
        columns = from_plain(prepared["columns"])
        unfit = UnfitRows(path, columns, self._refuses_missing())
        left_out.note(unfit)
        rows = rows_of_a_part(columns, batch_size)
        for table in self.file(path, text_columns(columns)).parts(rows, left_out):
            fit = unfit.without(table)
            if len(fit):
                numbers = [fit.number(row) for row in range(len(fit))]
                yield Part(unlabelled(encode(columns, fit)), numbers)

    def prepare_rows(
        self, rows: Sequence[Mapping[str, Any]], prepared: Mapping[str, Any]
    ) -> Samples:
        """Return rows, each a mapping from columns to cells, as inputs."""
        columns = from_plain(prepared["columns"])
        names = [column.name for column in columns]
        table = table_of_rows(rows, names, self.cell_format, text_columns(columns))
        return self._encoded([table], columns)

    def prepare_arrays(
        self, arrays: Sequence[Array], problem: Problem, prepared: Mapping[str, Any]
    ) -> Samples:
        """Return rows of numbers, each with a cell for every column the run uses, in its order."""
        names = [column.name for column in from_plain(prepared["columns"])]
        cells = stacked_rows(arrays, names)
        return self.prepare_rows([dict(zip(names, row, strict=True)) for row in cells], prepared)

    def _encoded(self, tables: Iterable[Table], columns: Sequence[Column]) -> Samples:
        """Return the rows of tables as inputs, or raise DataError for a missing cell."""
        inputs = []
        for table in tables:
            if hint := self._refuses_missing():
                refuse_missing(table, [column.name for column in columns], hint)
            inputs.append(encode(columns, table))
        return unlabelled(np.concatenate(inputs))

    def _refuses_missing(self) -> str:
        """Return why rows to predict may miss no cell; "" if they may."""
        if self.missing == "mean":
            return ""
        return f"the run was trained without such rows: data.missing is {self.missing}"

    def described(self, sample: Tensor, prepared: Mapping[str, Any]) -> dict[str, str]:
        """Return the cells of a row by column, from a sample [I]."""
        return decode(from_plain(prepared["columns"]), sample.tolist())

    def _chosen(self, table: Table) -> list[str]:
        """Return the columns to use as inputs, or raise for those that cannot be."""
        keys = {
            "target": self.targets,
            "columns": self.columns or [],
            "exclude": self.exclude,
            "categorical": self.categorical,
            "dates": self.dates,
        }
        for key, names in keys.items():
            for name in names:
                table.column(name, f"data.{key}")
        left_out = {*self.targets, *self.exclude}
        chosen = self.columns or [name for name in table.names if name not in left_out]
        if not chosen:
            raise DataError(
                f"{table.path}: no column besides the target",
                f"its columns are {listed(table.names)}",
                "data.delimiter, if they should be more",
            )
        if twice := [name for name in self.targets if name in chosen]:
            raise UsageError(
                f"data.columns names the target {twice[0]!r}", "the target is not an input"
            )
        for key in ("categorical", "dates"):
            if unused := [name for name in keys[key] if name not in chosen]:
                raise UsageError(f"data.{key} names columns that are not used: {listed(unused)}")
        return list(dict.fromkeys(chosen))

    def _whole(self, table: Table, names: Sequence[str]) -> Table:
        """Return the rows that can be used, or raise DataError for one that may not be left out."""
        if self.missing == "drop":
            return without_missing(table, [*names, *self.targets])
        if self.missing_target == "drop":
            table = without_missing(table, self.targets, "missing_target")
        if self.missing == "error":
            refuse_missing(table, names, "data.missing: mean or drop")
        refuse_missing(
            table, self.targets, "data.missing_target: drop leaves rows without a target out"
        )
        return table

    def _left_out(self, table: Table, whole: Table) -> list[str]:
        """Return the note on the rows that are not used."""
        if self.missing == "drop":
            why = "a cell is missing (data.missing: drop)"
        else:
            why = "without a target (data.missing_target: drop)"
        return left_out_rows(len(table) - len(whole), len(table), why)

    def _target(self, table: Table) -> Target:
        target = target_of(table, self.targets, self.task)
        if target.task == "classification" and self.scale_target:
            raise UsageError(
                "data.scale_target is for regression", "the target's values are classes"
            )
        return target

    def _scale(self, target: Target, training: Tensor) -> tuple[Scale, Scale]:
        """Return center and spread of the targets; raise DataError if float32 would round them."""
        if self.scale_target:
            return mean_and_std(training)
        if target.task == "regression":
            where = f"{self.path}: {'column' if len(self.targets) == 1 else 'columns'} "
            refuse_rounded_targets(training, where + listed(self.targets), SCALE)
        return 0.0, 1.0

    def _split(self, table: Table, target: Target, seed: int) -> dict[str, Table]:
        """Return the rows of each split of the file, by its name; one without rows is left out."""
        targets = target.of(table)
        rows = Samples(torch.arange(len(targets)), targets)
        fraction = self.test_fraction
        if fraction is None:
            fraction = 0.0 if self.test_path is not None else TEST_FRACTION
        train, test = hold_out(rows, fraction, TEST_SEED)
        train, validation = hold_out(train, self.validation_fraction, seed)
        chosen = zip(SPLITS, (train, validation, test), strict=True)
        return {name: table.select(part.inputs.numpy()) for name, part in chosen if part}


def unlabelled(inputs: NDArray[np.float32]) -> Samples:
    """Return rows to predict."""
    return Samples(torch.from_numpy(inputs), torch.zeros(len(inputs), dtype=torch.int64))


def row_number_notes(table: Table, names: Sequence[str]) -> Iterator[str]:
    """Yield which columns number the rows: those left out, and those that look like it."""
    if table.indexes:
        yield "ignored: a column of row numbers, which has no name of its own"
    for name in id_columns(table, names):
        yield f"column {shown_name(name)} looks like an id: data.exclude leaves it out"


def unseen_notes(columns: Sequence[Column], tables: Mapping[str, Table]) -> Iterator[str]:
    """Yield how many cells of each split hold a category that the training rows have not."""
    for split, table in tables.items():
        for column, number in unseen_categories(columns, table).items():
            cells = f"{count(number, 'cell')} of the {split} rows in column {shown_name(column)}"
            yield f"unseen: {cells}: no training row has its category, so no input stands for it"


def mean_and_std(targets: Tensor) -> tuple[Scale, Scale]:
    """Return the mean and standard deviation of the targets [N, D]; of constant ones 1."""
    std = targets.std(0, correction=0)
    mean, std = targets.mean(0), torch.where(std == 0, 1.0, std)
    if len(mean) == 1:
        return mean.item(), std.item()
    return tuple(mean.tolist()), tuple(std.tolist())


def in_model_unit(samples: Samples, center: Scale, spread: Scale) -> Samples:
    """Return the samples with targets (target - center) / spread in float32; classes unchanged.

    In float64 until then: float32 rounds 1.7e9 + 1 to 1.7e9, and would leave nothing to scale.
    """
    if not samples.targets.is_floating_point():
        return samples
    return replace(samples, targets=in_unit(samples.targets, center, spread))


def in_unit(targets: Tensor, center: Scale, spread: Scale) -> Tensor:
    """Return (target - center) / spread in float32, of targets in float64."""
    unit = [torch.tensor(each, dtype=torch.float64) for each in (center, spread)]
    return ((targets - unit[0]) / unit[1]).float()
