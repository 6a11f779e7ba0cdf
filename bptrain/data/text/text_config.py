"""A language model's data: any text, where every step predicts the next character or byte.

Splits      in reading order: training, validation, test. A random split would put neighboring
            passages into different splits and overstate how well the model generalizes
Vocabulary  the characters of the training part. Characters that occur only in the other parts or
            in a prompt become token 0, which is never seen in training
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bptrain.config import StrictConfig
from bptrain.config.paths import DataPath
from bptrain.data.contents import SPLITS, Contents, checksum, content, tensor_bytes
from bptrain.data.encodings import Encoding
from bptrain.data.file_tree import FileKind
from bptrain.data.notes import count
from bptrain.data.splits import BatchSize, Dataset, Samples
from bptrain.data.text.text_file import TEXT, given_text, read_texts
from bptrain.data.text.text_stream import TextStream
from bptrain.data.text.vocabulary import ByteVocabulary, CharacterVocabulary, Vocabulary
from bptrain.errors import DataError
from bptrain.problem import Problem


class TextConfig(StrictConfig):
    """A text to train a language model on: a file, or a folder of *.txt files."""

    input_files: ClassVar[FileKind] = TEXT
    input_kind: ClassVar[str] = "text"

    kind: Literal["text"] = "text"
    path: DataPath = Field(
        min_length=1,
        description="text file, unpacked if its name ends in .gz, or a folder whose *.txt and "
        "*.txt.gz files, also those in folders inside it, are joined in the order of their paths",
    )
    encoding: Encoding = Field(
        default="utf-8",
        description="encoding of the files, also of those given to predict and evaluate; where "
        "they are not UTF-8, the error names the likely one",
    )
    unit: Literal["character", "byte"] = Field(
        default="character",
        description="what a token is. character: the vocabulary is the characters of the training "
        "part. byte: it is the 256 bytes, which suits texts with very many different characters",
    )
    window: int = Field(
        default=128,
        ge=1,
        le=1_000_000,
        description="length of the sequences in a batch, in tokens. A recurrent model with "
        "train.bptt set gets batches of train.bptt tokens instead",
    )
    batch_size: BatchSize = Field(
        default=64,
        description="sequences per batch. The training part is cut into as many contiguous "
        "streams, each of which must be at least one window long. Evaluation reads its part as one "
        "text, whatever the batch size. auto takes the largest power of two that fits in memory "
        "and leaves each stream a window",
    )
    validation_fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="fraction of the text used for validation, the part right after the "
        "training part; 0 for no validation",
    )
    test_fraction: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="fraction of the text used as the test split, taken from its end; by default "
        "there is none",
    )

    def build(self, seed: int) -> Dataset:
        """Return the data set, the same one for every seed."""
        text = read_texts(Path(self.path), self.encoding)
        if not text:
            raise DataError(f"{self.path}: no text: it is empty")
        vocabulary = self.vocabulary_of(text)
        train, validation, test = self.parts(vocabulary.encode(text))
        if bool((train.tokens == train.tokens[:1]).all()):
            why = f"one {self.unit} throughout: there is nothing to predict"
            raise DataError(f"{train.name}: {len(train.tokens):,} {self.unit}s", why)
        names = vocabulary.names
        problem = Problem(
            "language_model",
            (self.window,),
            outputs=len(names),
            vocabulary=len(names),
            is_sequence=True,
            names=names,
        )
        parts = zip(SPLITS, (train, validation, test), strict=True)
        contents = {name: content_of_stream(part) for name, part in parts if part is not None}
        notes = () if self.unit == "byte" else self.unseen(validation, test)
        return Dataset(problem, train, validation, test, {"symbols": list(names)}, contents, notes)

    def unseen(self, *parts: TextStream | None) -> list[str]:
        """Return how many characters of each part the training part has not."""
        counts = [(part.name, int((part.tokens == 0).sum())) for part in parts if part is not None]
        return [
            f"unseen: {count(number, 'character')} of {name}: not in the vocabulary of training"
            for name, number in counts
            if number
        ]

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> TextStream:
        """Return another text, a file or a folder of *.txt files, to be predicted as a whole."""
        tokens = self.vocabulary(prepared).encode(read_texts(path, self.encoding))
        stream = TextStream(tokens, self.window, str(path), self.unit)
        stream.refuse_if_shorter(2, "the first one is given, a second is predicted", "more text")
        return stream

    def described(self, sample: Tensor, prepared: Mapping[str, Any]) -> dict[str, str]:
        """Return the text of a window [T] of tokens."""
        return {"text": self.vocabulary(prepared).decode(sample.tolist())}

    def vocabulary_of(self, text: str) -> Vocabulary:
        """Return the vocabulary of the training part of a text."""
        return (
            ByteVocabulary()
            if self.unit == "byte"
            else CharacterVocabulary.of(text[: self.ends(len(text))[0]])
        )

    def parts(self, tokens: Tensor) -> tuple[TextStream, TextStream | None, TextStream | None]:
        """Return the training, validation and test part, the last two at least a window long."""
        first, second = self.ends(len(tokens))
        train = self.part(tokens[:first], "training")
        validation = self.part(tokens[first:second], "validation")
        test = self.part(tokens[second:], "test")
        for part, key in ((validation, "validation_fraction"), (test, "test_fraction")):
            if len(part.tokens) > 0:
                why = f"for one window of {self.window:,}"
                hint = f"a smaller data.window, more text, or another data.{key}"
                part.refuse_if_shorter(self.window + 1, why, hint)
        return train, validation if len(validation) else None, test if len(test) else None

    def part(self, tokens: Tensor, purpose: str) -> TextStream:
        """Return a part of the text."""
        return TextStream(tokens, self.window, f"{self.path}, {purpose} part", self.unit)

    def ends(self, length: int) -> tuple[int, int]:
        """Return where the training part ends, and where the validation part does."""
        tested = round(length * self.test_fraction)
        validated = round(length * self.validation_fraction)
        return length - tested - validated, length - tested

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return prompts, each a text or the name of a file, as tokens [N, T].

        Where they differ in length they are padded at the end. Raises DataError for an empty one.
        """
        return self._prompts(words, [given_text(word, self.encoding) for word in words], prepared)

    def prepare_texts(self, texts: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return prompts as tokens; none of them is taken for the name of a file."""
        return self._prompts(texts, texts, prepared)

    def _prompts(
        self, words: Sequence[str], texts: Sequence[str], prepared: Mapping[str, Any]
    ) -> Samples:
        """Return texts as tokens [N, T]; `words` name them in errors."""
        vocabulary = self.vocabulary(prepared)
        prompts = [vocabulary.encode(text).long() for text in texts]
        for number, (word, prompt) in enumerate(zip(words, prompts, strict=True), start=1):
            if len(prompt) == 0:
                raise DataError(
                    f"input {number} {word!r}: an empty text",
                    hint="give at least one character to continue from",
                )
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        differ = bool((lengths != lengths[0]).any())
        targets = torch.zeros(len(prompts), dtype=torch.int64)
        tokens = pad_sequence(prompts, batch_first=True)
        return Samples(tokens, targets, lengths if differ else None)

    def vocabulary(self, prepared: Mapping[str, Any]) -> Vocabulary:
        """Return the vocabulary that was fitted on the training part."""
        return (
            ByteVocabulary()
            if self.unit == "byte"
            else CharacterVocabulary(tuple(prepared["symbols"]))
        )


def content_of_stream(part: TextStream) -> Contents:
    """Return the content of a part of the text, whose targets are its own next tokens."""
    tokens = checksum([tensor_bytes(part.tokens)])
    return content(len(part), tokens, tokens)
