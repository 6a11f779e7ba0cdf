r"""Texts with labels, to classify: sentiment, topics, languages.

Word        consecutive letters, digits and underscores, with apostrophes inside (don't), or any
            other single character that is not a space: \w+(?:['\u2019]\w+)*|[^\w\s]
Vocabulary  0 padding, 1 unknown, then the symbols of the training texts, the most frequent first
Splits      the same fraction of each class; the validation texts are drawn by the seed, the test
            texts are the same for every seed, or come from a file or folder of their own
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.contents import SPLITS, content_of_texts
from bptrain.data.file_tree import FileKind
from bptrain.data.notes import count
from bptrain.data.splits import Dataset, InMemoryConfig, Samples, hold_out
from bptrain.data.text.text_file import TEXT, refuse_what_does_not_fit
from bptrain.errors import DataError
from bptrain.problem import Problem

SYMBOLS = {
    "word": re.compile("\\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}]\\w+)*|[^\\w\\s]"),
    "character": re.compile(".", re.DOTALL),
}
RESERVED = ("<padding>", "<unknown>")  # no word equals them: < is a symbol of its own
UNKNOWN = 1
MANY = 10  # empty texts that a message lists
TEST_SEED = 0  # fixed: the test texts are the same for every seed


@dataclass(frozen=True)
class LabelledText:
    """A text and its label; `place` is what errors call it, a file or a row of one."""

    place: str
    text: str
    label: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it has no characters but spaces."""
        return not self.text.strip()


class LabelledTextsConfig(InMemoryConfig):
    """Config fields of every data set of texts with labels: how texts become tokens."""

    input_files: ClassVar[FileKind] = TEXT
    input_kind: ClassVar[str] = "text"

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

    def dataset(
        self, source: str, parts: Sequence[Sequence[LabelledText]], notes: Sequence[str] = ()
    ) -> Dataset:
        """Return the data set of the training, validation and test texts.

        source  what messages call all of them
        """
        train = parts[0]
        classes = sorted({each.label for each in train})
        if len(classes) < 2:
            raise DataError(
                f"{source}: one class only in the training texts: {classes[0]!r}",
                hint="texts of another class, or another column of labels",
            )
        symbols = self.symbols_of(train)
        training = self.samples(train, symbols, classes)
        validation, test = (
            self.samples(part, symbols, classes) if part else None for part in parts[1:]
        )
        splits = [each for each in (training, validation, test) if each is not None]
        problem = Problem(
            "classification",
            (max(each.inputs.shape[1] for each in splits),),
            outputs=len(classes),
            vocabulary=len(symbols),
            is_sequence=True,
            varies=True,
            names=tuple(classes),
        )
        contents = {
            name: content_of_texts([each.text for each in part], [each.label for each in part])
            for name, part in zip(SPLITS, parts, strict=True)
            if part
        }
        vocabulary = f"vocabulary {count(len(symbols), self.unit)}, of the training texts"
        prepared = {"symbols": symbols, "classes": classes}
        return Dataset(
            problem, training, validation, test, prepared, contents, (vocabulary, *notes)
        )

    def described(self, sample: Tensor, prepared: Mapping[str, Any]) -> dict[str, str]:
        """Return the text of tokens [T], as far as the vocabulary has it."""
        between = " " if self.unit == "word" else ""
        symbols = (prepared["symbols"][token] for token in sample.tolist())
        return {"text": between.join(symbols)}

    def symbols_of(self, texts: Sequence[LabelledText]) -> list[str]:
        """Return the vocabulary of training texts: the reserved symbols, then by frequency."""
        counts = Counter(symbol for each in texts for symbol in self.symbols_in(each.text))
        ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return [*RESERVED, *ranked[: self.vocabulary - len(RESERVED)]]

    def symbols_in(self, text: str) -> Iterator[str]:
        """Yield the symbols of a text, max_length at most."""
        text = text.strip().lower() if self.lower else text.strip()
        found = SYMBOLS[self.unit].finditer(text)
        return (each.group() for each in islice(found, self.max_length))

    def samples(
        self, texts: Sequence[LabelledText], symbols: Sequence[str], classes: Sequence[str]
    ) -> Samples:
        """Return the texts as tokens, with the class of each."""
        class_of = {label: number for number, label in enumerate(classes)}
        for each in texts:
            if each.label not in class_of:
                raise DataError(
                    f"{each.place}: label {each.label!r} is in no training row",
                    f"those have {len(classes)} classes",
                    "more rows of this class, or none",
                )
        targets = torch.tensor([class_of[each.label] for each in texts])
        return self.encoded([each.text for each in texts], symbols, targets)

    def encoded(self, texts: Sequence[str], symbols: Sequence[str], targets: Tensor) -> Samples:
        """Return texts as tokens [N, T], padded at the end, with their lengths [N]."""
        token_of = {symbol: number for number, symbol in enumerate(symbols)}
        encoded = [
            [token_of.get(symbol, UNKNOWN) for symbol in self.symbols_in(text)] for text in texts
        ]
        lengths = torch.tensor([len(each) for each in encoded])
        shape = (len(encoded), int(lengths.max()))
        refuse_what_does_not_fit(Path("the texts"), prod(shape) * torch.int64.itemsize)
        tokens = torch.zeros(shape, dtype=torch.int64)
        for row, each in zip(tokens, encoded, strict=True):
            row[: len(each)] = torch.tensor(each)
        return Samples(tokens, targets, lengths)

    def prepare_texts(self, texts: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return texts to predict as tokens; none of them is taken for the name of a file."""
        places = (f"input {number}" for number in range(1, len(texts) + 1))
        return self.unlabelled([*map(LabelledText, places, texts)], prepared)

    def unlabelled(self, texts: Sequence[LabelledText], prepared: Mapping[str, Any]) -> Samples:
        """Return texts to predict as tokens, or raise DataError for an empty one."""
        for each in texts:
            refuse_if_empty(each)
        zeros = torch.zeros(len(texts), dtype=torch.int64)
        return self.encoded([each.text for each in texts], prepared["symbols"], zeros)


def refuse_if_empty(text: LabelledText) -> None:
    """Raise DataError for a text without any characters but spaces."""
    if text.is_empty:
        raise empty_text(text.place)


def empty_text(place: str, why: str = "") -> DataError:
    """Return the error for a text without any characters but spaces."""
    return DataError(f"{place}: an empty text", why, "leave it out")


class EmptyTexts:
    """Rows of a table without a text: how many, and where the first of them are."""

    def __init__(self) -> None:
        self.count = 0
        self.places: list[str] = []

    def notes(self, text: LabelledText) -> bool:
        """Tell whether a text is empty; one that is, is noted."""
        if text.is_empty:
            self.count += 1
            self.places += [text.place] if len(self.places) < MANY else []
        return text.is_empty

    def errors(self) -> Iterator[DataError]:
        """Yield the error that names them, if there are any."""
        if self.places:
            first, *others = self.places
            listed = ", ".join(place.rpartition(": ")[2] for place in others)
            more = f", and {self.count - MANY:,} more" * (self.count > MANY)
            yield empty_text(first, f"and in {listed}{more}" if others else "")


def split_by_label(
    texts: Sequence[LabelledText], fraction: float, seed: int
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Return the texts in two parts, the second with `fraction` of each label, drawn by `seed`."""
    labels = {label: number for number, label in enumerate({each.label: 0 for each in texts})}
    targets = torch.tensor([labels[each.label] for each in texts])
    first, second = hold_out(Samples(torch.arange(len(texts)), targets), fraction, seed)
    chosen = [] if second is None else [texts[number] for number in second.inputs.tolist()]
    return [texts[number] for number in first.inputs.tolist()], chosen
