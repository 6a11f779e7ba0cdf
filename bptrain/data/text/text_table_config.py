"""Labelled texts from a table: a column of texts and one of labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bptrain.config.paths import DataPath, located
from bptrain.data.given_arrays import place_of
from bptrain.data.notes import left_out_rows
from bptrain.data.splits import Dataset, Samples
from bptrain.data.tables.categories import by_value
from bptrain.data.tables.cell_format import CellFormat
from bptrain.data.tables.csv_dialect import TABULATED, Dialect
from bptrain.data.tables.left_out_rows import LeftOutRows, Part
from bptrain.data.tables.reading_keys import CutIntoCellsConfig, Marker
from bptrain.data.tables.table import Table
from bptrain.data.tables.table_file import TABLES, read_table
from bptrain.data.tables.table_parts import TableFile
from bptrain.data.text.labelled_texts import (
    TEST_SEED,
    EmptyTexts,
    LabelledText,
    LabelledTextsConfig,
    refuse_if_empty,
    split_by_label,
)
from bptrain.data.text.text_file import given_text, names_file
from bptrain.errors import DataError
from bptrain.problem import Problem

TEST_FRACTION = 0.1
BATCHES = 16  # of the texts of a large table that are held at a time


class TextTableConfig(LabelledTextsConfig, CutIntoCellsConfig):
    """A table of labeled texts to classify: a column of texts and one of labels."""

    kind: Literal["text_table"] = "text_table"
    path: DataPath = Field(min_length=1, description="CSV, TSV or Parquet file")
    text_column: str = Field(
        default="text", min_length=1, description="name of the column with the texts"
    )
    label_column: str = Field(
        default="label",
        min_length=1,
        description="name of the column with the labels; each different label is a class",
    )
    missing_values: list[Marker] = Field(
        default=[],
        description="texts and labels that stand for a missing one besides the empty cell, in any "
        "case, such as [n/a, '-']. None are known by themselves: none may be a label",
    )
    missing: Literal["error", "drop"] = Field(
        default="error",
        description="what to do about rows without a text or a label: refuse them, or drop them "
        "and say how many",
    )
    test_fraction: Annotated[float, Field(ge=0, le=0.5)] | None = Field(
        default=None,
        description="fraction of the rows used as the test split, the same fraction of each class "
        f"and the same rows for every seed. By default (null) {TEST_FRACTION}, or 0 if test_path "
        "is set",
    )
    test_path: DataPath | None = Field(
        default=None,
        description="file with the test rows, in the same columns. By default (null) they are "
        "drawn from path, see test_fraction",
    )

    @model_validator(mode="after")
    def _keys_are_consistent(self) -> "TextTableConfig":
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}")
        if self.test_path is not None and self.test_fraction is not None:
            raise ValueError("test_fraction and test_path exclude each other")
        return self

    def build(self, seed: int) -> Dataset:
        """Return the data set, the validation rows drawn by `seed`."""
        rows, notes = self.rows(Path(self.path))
        if self.test_path is not None:
            test, of_test = self.rows(Path(self.test_path))
            notes += of_test
        else:
            fraction = TEST_FRACTION if self.test_fraction is None else self.test_fraction
            rows, test = split_by_label(rows, fraction, TEST_SEED)
        train, validation = split_by_label(rows, self.validation_fraction, seed)
        return self.dataset(self.path, (train, validation, test), notes)

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return the rows of another file, whose labels are among those of the training rows."""
        rows, _ = self.rows(path)
        return self.samples(rows, prepared["symbols"], prepared["classes"])

    def rows(self, path: Path) -> tuple[list[LabelledText], list[str]]:
        """Return the rows of a file with a text and a label, and how many others there are."""
        every = self.cells(path, (self.text_column, self.label_column))
        whole = [row for row in every if row.text and row.label]
        if self.missing == "drop":
            if not whole:
                raise DataError(f"{path}: no row has a text and a label")
            notes = left_out_rows(len(every) - len(whole), len(every), "no text or no label")
            return whole, notes
        for row in every:
            refuse_if_empty(row)
            if not row.label:
                hint = "data.missing: drop leaves such rows out"
                raise DataError(f"{row.place}: no label", "each row needs a label", hint)
        return every, []

    def cells(self, path: Path, columns: Sequence[str]) -> list[LabelledText]:
        """Return the texts of a file, with their labels if `columns` names both; "" if missing."""
        table = read_table(path, self.dialect_of(path), self.cell_format)
        return self.texts_of(table, columns)

    @property
    def cell_format(self) -> CellFormat:
        """How missing texts and labels are written."""
        markers = ("", *(str(each).strip().lower() for each in self.missing_values))
        return CellFormat(missing=markers)

    def dialect_of(self, path: Path) -> Dialect:
        """Return how a file is cut into cells: one of .tsv at tabs, if no key says otherwise."""
        is_tabulated = self.delimiter == "auto" and path.suffix.lower() in TABULATED
        return replace(self.dialect, delimiter="tab") if is_tabulated else self.dialect

    def texts_of(self, table: Table, columns: Sequence[str]) -> list[LabelledText]:
        """Return the texts of a table, with their labels if `columns` names both; "" if missing."""
        found = []
        for name, key in zip(columns, ("text_column", "label_column"), strict=False):
            cells = table.column(name, f"data.{key}")
            missing = table.format.is_missing(cells)
            if key == "label_column":  # 2.0 is the label 2
                cells = by_value(cells, table.format)
            found.append(cells.set(missing, "").to_list())
        return [
            LabelledText(f"{table.path}: {table.place(row)}", *cells)
            for row, cells in enumerate(zip(*found, strict=True))
        ]

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return texts as tokens: words, files of one text each, or tables with a text a row.

        Raises DataError for an empty text, or a file that cannot be read.
        """
        texts: list[LabelledText] = []
        for number, word in enumerate(words, start=1):
            if self.names_table(word):
                texts += self.cells(located(word), (self.text_column,))
            else:
                texts.append(LabelledText(f"input {number}", given_text(word, self.encoding)))
        return self.unlabelled(texts, prepared)

    def names_table(self, word: str) -> bool:
        """Tell whether a word to predict is a table of texts, and no text."""
        return names_file(word, *TABLES)

    def prepare_parts(
        self, path: Path, prepared: Mapping[str, Any], batch_size: int, left_out: LeftOutRows
    ) -> Iterator[Part]:
        """Yield the texts of a table as `prepare` does, a few batches of them at a time.

        Rows without a text are left out, and noted.
        """
        without = EmptyTexts()
        left_out.note(without)
        file = TableFile(path, self.dialect_of(path), self.cell_format, [self.text_column])
        for table in file.parts(BATCHES * batch_size, left_out):
            texts = self.texts_of(table, (self.text_column,))
            whole = [row for row, text in enumerate(texts) if not without.notes(text)]
            if whole:
                samples = self.unlabelled([texts[row] for row in whole], prepared)
                yield Part(samples, [table.number(row) for row in whole])

    def prepare_rows(
        self, rows: Sequence[Mapping[str, Any]], prepared: Mapping[str, Any]
    ) -> Samples:
        """Return the texts in mappings, each under the name of the text column, as tokens."""
        texts = []
        for number, row in enumerate(rows):
            text = row.get(self.text_column)
            if not isinstance(text, str):
                raise DataError(
                    f"{place_of(number)}: no text under {self.text_column!r}",
                    f"it has {', '.join(map(str, row)) or 'nothing'}",
                )
            texts.append(LabelledText(place_of(number), text))
        return self.unlabelled(texts, prepared)
