"""What is shown of a model's answers after training, as pictures and as text.

An exhibit watches an evaluation: `add` takes each batch in without waiting for the device, `show`
draws at the end. A new one is a class here and a line in `exhibits_of`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bptrain.problem import Problem
from bptrain.tasks.metrics import IGNORED, labels_of
from bptrain.tasks.pictures import (
    Mistake,
    Picture,
    confusion_picture,
    mistakes_picture,
    scatter_picture,
)
from bptrain.tasks.transcripts import decode

MOST_CLASSES = 100  # of a confusion matrix: a larger one is a grey square
MOST_IN_WORDS = 20  # classes of one that is written as a table
WORST = 24
MOST_COLUMNS = 6  # of a regression, drawn
TRANSCRIPTS = 10


@dataclass(frozen=True)
class Shown:
    """One thing to show: a picture, or a table (its first row the heading), or both."""

    name: str
    picture: Picture | None = None
    rows: Sequence[Sequence[str]] = ()


class Exhibit(Protocol):
    """Gathers what is worth showing from the batches of an evaluation."""

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Take in a batch, without waiting for the device."""
        ...

    def show(self) -> Shown | None:
        """Return what was gathered, on the host; None if nothing is worth showing."""
        ...


def exhibits_of(problem: Problem) -> list[Exhibit]:
    """Return what is shown of a problem's answers."""
    exhibits: list[Exhibit] = []
    if problem.task in ("classification", "tagging") and problem.outputs <= MOST_CLASSES:
        exhibits.append(Confusion(class_names(problem)))
    if problem.task == "classification" and is_image(problem):
        exhibits.append(WorstMistakes(class_names(problem)))
    if problem.task == "regression":
        exhibits.append(Scatter(class_names(problem), problem.center, problem.spread))
    if problem.task == "transcription":
        exhibits.append(Transcripts(class_names(problem)))
    return exhibits


class Confusion:
    """How often each class was taken for which, over samples or time steps."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.counts: Tensor | None = None

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Count the pairs of true and predicted class."""
        classes = len(self.names)
        if self.counts is None:
            self.counts = outputs.new_zeros(classes * classes, dtype=torch.int64)
        labels = labels_of(targets[0]).flatten()
        counts = labels != IGNORED
        pairs = labels * counts * classes + outputs.argmax(-1).flatten()
        self.counts.index_add_(0, pairs, counts.long())

    def show(self) -> Shown | None:
        """Return the matrix, a row for each true class."""
        if self.counts is None:
            return None
        matrix = self.counts.view(len(self.names), -1).cpu().numpy()
        rows: list[list[str]] = []
        if len(self.names) <= MOST_IN_WORDS:
            rows = [["true \\ predicted", *self.names]]
            for name, row in zip(self.names, matrix.tolist(), strict=True):
                rows.append([name, *(str(count) if count else "." for count in row)])
        return Shown("confusion", confusion_picture(matrix, self.names), rows)


class WorstMistakes:
    """The images that were taken for another class with the greatest loss, -log p of their own."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.losses: Tensor | None = None  # [at most WORST], -inf where the answer was right
        self.images: Tensor | None = None
        self.pairs: Tensor | None = None  # [..., 2] true and predicted class

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the worst of the batch and of those before."""
        labels, predicted = labels_of(targets[0]), outputs.argmax(1)
        losses = functional.cross_entropy(outputs.float(), labels, reduction="none")
        losses = losses.where(predicted != labels, -torch.inf)
        images, pairs = inputs[0], torch.stack([labels, predicted], 1)
        if self.losses is not None and self.images is not None and self.pairs is not None:
            losses = torch.cat([self.losses, losses])
            images = torch.cat([self.images, images])
            pairs = torch.cat([self.pairs, pairs])
        self.losses, worst = losses.topk(min(WORST, len(losses)))
        self.images, self.pairs = images[worst], pairs[worst]

    def show(self) -> Shown | None:
        """Return the images, the worst one first; None if all was right."""
        if self.losses is None or self.images is None or self.pairs is None:
            return None
        each = zip(
            self.losses.tolist(), self.images.float().cpu(), self.pairs.tolist(), strict=True
        )
        mistakes = [
            Mistake(pixels.numpy(), self.names[true], self.names[predicted], loss)
            for loss, pixels, (true, predicted) in each
            if loss > -torch.inf
        ]
        return Shown("mistakes", mistakes_picture(mistakes)) if mistakes else None


class Scatter:
    """Predicted beside true values, in the targets' own unit: center + spread * value."""

    def __init__(self, names: Sequence[str], center: float = 0.0, spread: float = 1.0) -> None:
        self.names, self.center, self.spread = names[:MOST_COLUMNS], center, spread
        self.pairs: list[Tensor] = []  # [2, B, columns]

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the values of the first columns."""
        columns = slice(0, len(self.names))
        self.pairs.append(torch.stack([targets[0][:, columns], outputs[:, columns]]))

    def show(self) -> Shown | None:
        """Return a plot for each column."""
        if not self.pairs:
            return None
        pairs = torch.cat(self.pairs, 1).double().cpu() * self.spread + self.center
        true, predicted = pairs.numpy()
        return Shown("predictions", scatter_picture(true, predicted, self.names))


class Transcripts:
    """The first texts: what was said, and what was heard."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self.texts: list[tuple[Tensor, ...]] = []
        self.count = 0

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the texts of the first samples."""
        first = slice(0, max(0, TRANSCRIPTS - self.count))
        self.count += len(outputs)
        said, frames, lengths = (target[first] for target in targets)
        if len(said):
            self.texts.append((said, lengths, *decode(outputs[first], frames)))

    def show(self) -> Shown | None:
        """Return a table of both."""
        rows = [["said", "heard"]]
        for said, lengths, heard, heard_lengths in self.texts:
            pairs = zip(
                spelled(said, lengths, self.symbols),
                spelled(heard, heard_lengths, self.symbols),
                strict=True,
            )
            rows += [list(pair) for pair in pairs]
        return Shown("transcripts", rows=rows) if self.texts else None


def spelled(texts: Tensor, lengths: Tensor, symbols: Sequence[str]) -> list[str]:
    """Return texts [N, T] of symbols in letters."""
    ends = lengths.tolist()
    return [
        "".join(symbols[symbol] for symbol in text[:end])
        for text, end in zip(texts.tolist(), ends, strict=True)
    ]


def class_names(problem: Problem) -> tuple[str, ...]:
    """Return a name for each class, column or symbol: its number where it has none."""
    numbers = (str(number) for number in range(len(problem.names), problem.outputs))
    return (*problem.names[: problem.outputs], *numbers)


def is_image(problem: Problem) -> bool:
    """Tell whether the inputs can be looked at: grey or colored, [1 or 3, H, W]."""
    shape = problem.input_shape
    drawn = not (problem.is_sequence or problem.vocabulary)
    return drawn and len(shape) == 3 and shape[0] in (1, 3)
