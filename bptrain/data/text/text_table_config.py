r"""Labeled texts from a CSV or TSV file, to classify: sentiment, topics, languages.

Word        consecutive letters, digits and underscores, with apostrophes inside (don't), or any
            other single character that is not a space: \w+(?:['\u2019]\w+)*|[^\w\s]
Vocabulary  0 padding, 1 unknown, then the symbols of the training texts, the most frequent first
Splits      the same fraction of each class; the validation rows are drawn by the seed, the test
            rows are the same for every seed, or come from a file of their own
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.data.contents import SPLITS, content_of_texts
from bptrain.data.data_file import DataPath, located
from bptrain.data.notes import count
from bptrain.data.splits import Dataset, InMemoryConfig, Parts, Samples, hold_out
from bptrain.data.tables.csv_columns import SUFFIXES, Row, read_columns
from bptrain.data.tables.csv_dialect import Quoting
from bptrain.data.text.text_file import given_text, names_file, refuse_what_does_not_fit
from bptrain.errors import DataError
from bptrain.problem import Problem

SYMBOLS = {
    "word": re.compile("\\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}]\\w+)*|[^\\w\\s]"),
    "character": re.compile(".", re.DOTALL),
}
RESERVED = ("<padding>", "<unknown>")  # no word equals them: < is a symbol of its own
UNKNOWN = 1
TEST_FRACTION = 0.1
TEST_SEED = 0  # fixed: the test rows are the same for every seed


class TextTableConfig(InMemoryConfig):
    """A CSV or TSV file of labeled texts to classify: a column of texts and one of labels."""

    kind: Literal["text_table"] = "text_table"
    path: DataPath = Field(
        min_length=1,
        description="UTF-8 file whose first row names the columns; separated by commas, or by tabs "
        "if its name ends in .tsv or .tab",
    )
    text_column: str = Field(
        default="text", min_length=1, description="name of the column with the texts"
    )
    label_column: str = Field(
        default="label",
        min_length=1,
        description="name of the column with the labels; each different label is a class",
    )
    quoting: Quoting = Field(
        default="double",
        description='character around texts that hold the separator or a line break: double ("), '
        "single ('), or none, where quotation marks are characters like others, as in many .tsv "
        "files",
    )
    unit: Literal["word", "character"] = Field(
        default="word",
        description="what a token is: a word or punctuation mark, or a single character. "
        "Characters suit languages written without spaces, and misspelled texts",
    )
    vocabulary: int = Field(
        default=20_000,
        ge=len(RESERVED) + 1,
        le=1_048_576,
        description="size of the vocabulary at most: the most frequent tokens of the training "
        "texts, and two reserved ones for padding and for unknown tokens",
    )
    max_length: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="tokens read of each text; longer texts are cut at their end",
    )
    lower: bool = Field(
        default=True,
        description="convert texts to lower case, so that Good and good are the same token",
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
        rows = self.rows(Path(self.path))
        if self.test_path is not None:
            test = self.rows(Path(self.test_path))
        else:
            fraction = TEST_FRACTION if self.test_fraction is None else self.test_fraction
            rows, test = split_by_label(rows, fraction, TEST_SEED)
        train, validation = split_by_label(rows, self.validation_fraction, seed)
        classes = sorted({label_of(row) for row in train})
        if len(classes) < 2:
            raise DataError(
                f"{self.path}: one class only in the training rows: {classes[0]!r}",
                hint="another data.label_column, or more rows",
            )
        symbols = self.symbols_of(train)
        parts = Parts(
            self.samples(train, symbols, classes),
            self.samples(validation, symbols, classes) if validation else None,
            self.samples(test, symbols, classes) if test else None,
        )
        splits = [each for each in (parts.train, parts.validation, parts.test) if each]
        problem = Problem(
            "classification",
            (max(each.inputs.shape[1] for each in splits),),
            outputs=len(classes),
            vocabulary=len(symbols),
            is_sequence=True,
            varies=True,
            names=tuple(classes),
        )
        prepared = {"symbols": symbols, "classes": classes}
        contents = {
            name: content_of_texts(*map(list, zip(*(row.fields for row in rows), strict=True)))
            for name, rows in zip(SPLITS, (train, validation, test), strict=True)
            if rows
        }
        notes = [f"vocabulary {count(len(symbols), self.unit)}, of the training texts"]
        return Dataset(
            problem, parts.train, parts.validation, parts.test, prepared, contents, notes
        )

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Return the rows of another file, whose labels are among those of the training rows."""
        return self.samples(self.rows(path), prepared["symbols"], prepared["classes"])

    def described(self, sample: Tensor, prepared: Mapping[str, Any]) -> dict[str, str]:
        """Return the text of tokens [T], as far as the vocabulary has it."""
        between = " " if self.unit == "word" else ""
        symbols = (prepared["symbols"][token] for token in sample.tolist())
        return {self.text_column: between.join(symbols)}

    def rows(self, path: Path) -> list[Row]:
        """Return the rows of a file, each a text and a label, neither of them empty."""
        rows = read_columns(path, [self.text_column, self.label_column], self.quoting)
        for row in rows:
            refuse_if_empty(row.fields[0], row.place)
            if not label_of(row):
                raise DataError(f"{row.place}: no label", "each row needs a label")
        return rows

    def symbols_of(self, rows: Sequence[Row]) -> list[str]:
        """Return the vocabulary of training texts: the reserved symbols, then by frequency."""
        counts = Counter(symbol for row in rows for symbol in self.symbols_in(row.fields[0]))
        ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return [*RESERVED, *ranked[: self.vocabulary - len(RESERVED)]]

    def symbols_in(self, text: str) -> Iterator[str]:
        """Yield the symbols of a text, max_length at most."""
        text = text.strip().lower() if self.lower else text.strip()
        found = SYMBOLS[self.unit].finditer(text)
        return (each.group() for each in islice(found, self.max_length))

    def samples(
        self, rows: Sequence[Row], symbols: Sequence[str], classes: Sequence[str]
    ) -> Samples:
        """Return the texts as tokens, with the class of each."""
        class_of = {label: number for number, label in enumerate(classes)}
        for row in rows:
            if label_of(row) not in class_of:
                raise DataError(
                    f"{row.place}: label {label_of(row)!r} is in no training row",
                    f"those have {len(classes)} classes",
                    "more rows of this class, or none",
                )
        targets = torch.tensor([class_of[label_of(row)] for row in rows])
        return self.encoded([row.fields[0] for row in rows], symbols, targets)

    def encoded(self, texts: Sequence[str], symbols: Sequence[str], targets: Tensor) -> Samples:
        """Return texts as tokens [N, T], padded at the end, with their lengths [N]."""
        token_of = {symbol: number for number, symbol in enumerate(symbols)}
        encoded = [
            [token_of.get(symbol, UNKNOWN) for symbol in self.symbols_in(text)] for text in texts
        ]
        lengths = torch.tensor([len(each) for each in encoded])
        shape = (len(encoded), int(lengths.max()))
        refuse_what_does_not_fit(Path(self.path), prod(shape) * torch.int64.itemsize)
        tokens = torch.zeros(shape, dtype=torch.int64)
        for row, each in zip(tokens, encoded, strict=True):
            row[: len(each)] = torch.tensor(each)
        return Samples(tokens, targets, lengths)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return texts as tokens: words, files of one text each, or CSV files with a text a row.

        Raises DataError for an empty text, or a file that cannot be read.
        """
        texts: list[str] = []
        for number, word in enumerate(words, start=1):
            if names_file(word, *SUFFIXES):
                rows = read_columns(located(word), [self.text_column], self.quoting)
            else:
                rows = [Row(f"input {number}", (given_text(word),))]
            for row in rows:
                refuse_if_empty(row.fields[0], row.place)
            texts += [row.fields[0] for row in rows]
        return self.encoded(texts, prepared["symbols"], torch.zeros(len(texts), dtype=torch.int64))


def label_of(row: Row) -> str:
    """Return the label of a row: spaces around it do not make another class."""
    return row.fields[1].strip()


def refuse_if_empty(text: str, place: str) -> None:
    """Raise DataError for a text without any characters but spaces."""
    if not text.strip():
        raise DataError(f"{place}: an empty text", hint="leave it out")


def split_by_label(rows: Sequence[Row], fraction: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return the rows in two parts, the second with `fraction` of each label, drawn by `seed`."""
    labels = {label: number for number, label in enumerate({label_of(row): 0 for row in rows})}
    targets = torch.tensor([labels[label_of(row)] for row in rows])
    first, second = hold_out(Samples(torch.arange(len(rows)), targets), fraction, seed)
    chosen = [] if second is None else [rows[number] for number in second.inputs.tolist()]
    return [rows[number] for number in first.inputs.tolist()], chosen
