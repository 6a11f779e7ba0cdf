"""Transcription: a text for each sequence, without its alignment to the time steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.problem import Problem
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.edit_distance import decode, edit_distances, words_of
from bptrain.tasks.task import (
    Described,
    FigureBuilder,
    NoMetric,
    Prediction,
    ResultFigure,
    Task,
    class_names,
    ratio,
)

SHOWN = 10  # texts of the table


class TranscriptionMetric:
    """Edits that turn the predicted text into the true one, as a share of the true text's length.

    Outputs [N, T, K] are decoded greedily. Words end at the symbol that is a space; where there is
    none, a text is one word.
    """

    names = ("character_error_rate", "word_error_rate")
    larger_is_better = ()

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.space = symbols.index(" ") if " " in symbols else None

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return edits and length in characters, then in words."""
        texts, frames, lengths = targets
        true, predicted = (texts, lengths), decode(outputs, frames)
        # the true text is the shorter one, which the edit distance loops over
        words = words_of(*true, self.space), words_of(*predicted, self.space)
        counted = []
        for one, other in ((true, predicted), words):
            counted += [edit_distances(*one, *other).sum(), one[1].sum()]
        return torch.stack(counted).double()

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return both rates; beyond 1 where the predicted text is longer than the true one."""
        character_edits, characters, word_edits, words = sums
        return {
            "character_error_rate": ratio(character_edits, characters),
            "word_error_rate": ratio(word_edits, words),
        }


class Transcripts:
    """The first texts, true and predicted."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self.texts: list[tuple[Tensor, ...]] = []
        self.count = 0

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the texts of the first samples."""
        first = slice(0, max(0, SHOWN - self.count))
        self.count += len(outputs)
        true, frames, lengths = (target[first] for target in targets)
        if len(true):
            self.texts.append((true, lengths, *decode(outputs[first], frames)))

    def build(self) -> ResultFigure | None:
        """Return a table of both."""
        rows = [["true", "predicted"]]
        for true, lengths, predicted, predicted_lengths in self.texts:
            pairs = zip(
                spelled(true, lengths, self.symbols),
                spelled(predicted, predicted_lengths, self.symbols),
                strict=True,
            )
            rows += [list(pair) for pair in pairs]
        return ResultFigure("transcripts", rows=rows) if self.texts else None


def spelled(texts: Tensor, lengths: Tensor, symbols: Sequence[str]) -> list[str]:
    """Return texts [N, T] of symbols as strings."""
    ends = lengths.tolist()
    return [
        "".join(symbols[symbol] for symbol in text[:end])
        for text, end in zip(texts.tolist(), ends, strict=True)
    ]


def predictions(
    outputs: Tensor,
    lengths: Tensor,
    problem: Problem,
    decision: Decision,
) -> Iterator[Prediction]:
    """Yield the text of each sample."""
    for text in spelled(*decode(outputs, lengths), class_names(problem)):
        yield {"text": text}


def describe(
    outputs: Tensor, targets: tuple[Tensor, ...], problem: Problem, decision: Decision
) -> Iterator[Described]:
    """Yield the text of each sample, true and predicted."""
    texts, frames, lengths = targets
    names = class_names(problem)
    true, predicted = (
        spelled(*each, names) for each in ((texts, lengths), decode(outputs, frames))
    )
    yield from map(Described, true, predicted)


def figures(problem: Problem, decision: Decision = BY_SOFTMAX) -> list[FigureBuilder]:
    """Return a table of true and predicted texts."""
    return [Transcripts(class_names(problem))]


TRANSCRIPTION = Task(
    losses=("ctc",),
    training_metric=lambda problem: NoMetric(),  # decoding costs more than a step
    evaluation_metric=lambda problem, decision=BY_SOFTMAX: TranscriptionMetric(problem.names),
    figures=figures,
    predictions=predictions,
    describe=describe,
)
