"""The measures of each task, as sums that add up over batches on the device.

A task has a cheap measure for the training steps and a full one for evaluation. Both run without
gradients, and neither waits for the device: a whole evaluation is read in one host copy.
"""

from math import exp, log
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bptrain.problem import Problem
from bptrain.tasks.transcripts import decode, edit_distances, words_of

IGNORED = -100  # the class of a time step that does not count
TOP = 5
HIGHEST_EXPONENT = 700.0  # of e; beyond it float64 overflows, and JSON knows no infinity


class Metric(Protocol):
    """Measures besides the loss; `names` are those that `figures` returns."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each measure, the most telling one first."""
        ...

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return what adds up over batches [m], in float64."""
        ...

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the measures by name from the sums over all batches."""
        ...


class Unmeasured:
    """No measure besides the loss."""

    names = ()

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return no sums [0]."""
        return outputs.new_zeros(0, dtype=torch.float64)

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return nothing."""
        return {}


class Accuracy:
    """The share of samples, or time steps, whose largest output [..., K] is that of their class."""

    names = ("accuracy",)

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return how many are right, and how many count."""
        labels = labels_of(targets[0])
        counts = labels != IGNORED
        right = (outputs.argmax(-1) == labels) & counts
        return torch.stack([right.sum(), counts.sum()]).double()

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the accuracy."""
        return {"accuracy": ratio(*sums)}


class Classification:
    """Accuracy, whether the class is among the first five, and F1 with equal say for each class.

    All of it follows from the confusion matrix's diagonal, its rows' and its columns' sums, so
    that a thousand classes cost 3,000 numbers and not a million.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.names = ("accuracy", *["top5"] * (classes > TOP), "macro_f1")

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return of each class the right, the predicted and the true samples; then top-5 hits."""
        labels, predicted = labels_of(targets[0]), outputs.argmax(1)
        right = (predicted == labels).double()
        counted = outputs.new_zeros(3, self.classes, dtype=torch.float64)
        counted[0].index_add_(0, labels, right)
        counted[1].index_add_(0, predicted, torch.ones_like(right))
        counted[2].index_add_(0, labels, torch.ones_like(right))
        first = outputs.topk(min(TOP, self.classes), dim=1).indices
        hits = (first == labels.unsqueeze(1)).sum().double()
        return torch.cat([counted.view(-1), hits.view(1)])

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the measures; a class that is neither true nor predicted has no F1."""
        right, predicted, true = (
            sums[start : start + self.classes] for start in range(0, 3 * self.classes, self.classes)
        )
        scores = [
            2 * r / (p + t) for r, p, t in zip(right, predicted, true, strict=True) if p + t > 0
        ]
        measured = {
            "accuracy": ratio(sum(right), sum(true)),
            "top5": ratio(sums[-1], sum(true)),
            "macro_f1": ratio(sum(scores), len(scores)),
        }
        return {name: measured[name] for name in self.names}


class AbsoluteError:
    """The mean distance of outputs [N, O] from their targets [N, O], times `spread`."""

    names = ("mae",)

    def __init__(self, spread: float = 1.0) -> None:
        self.spread = spread

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the sum of the distances, and how many there are."""
        errors = (outputs - targets[0]).abs().double()
        return torch.stack([errors.sum(), errors.new_tensor(errors.numel())])

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the mean absolute error."""
        return {"mae": self.spread * ratio(*sums)}


class Regression:
    """Errors of outputs [N, O], and R^2: the share of the targets' variance that is explained.

    R^2 is each column's own, then their mean. A column that is constant has no variance: 1 if it
    is predicted without error, else 0. R^2 has no unit; the errors are multiplied by `spread`.
    """

    names = ("mae", "rmse", "r2")

    def __init__(self, columns: int, spread: float = 1.0) -> None:
        self.columns, self.spread = columns, spread

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return of each column n, sum |e|, sum e^2, sum t and sum t^2."""
        # float64 before the square: sum t^2 - (sum t)^2 / n cancels where t is far from 0
        true = targets[0].double().view(-1, self.columns)
        errors = outputs.double().view(-1, self.columns) - true
        each = [torch.ones_like(true), errors.abs(), errors.square(), true, true.square()]
        return torch.stack([values.sum(0) for values in each]).view(-1)

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the measures."""
        count, absolute, squared, true, true_squared = (
            sums[start : start + self.columns] for start in range(0, 5 * self.columns, self.columns)
        )
        scores = []
        for n, error, total, square in zip(count, squared, true, true_squared, strict=True):
            variation = square - total * total / n
            # what rounding leaves of a constant column's variation is not variation
            constant = variation <= 1e-12 * square
            scores.append(float(error == 0) if constant else 1 - error / variation)
        return {
            "mae": self.spread * sum(absolute) / sum(count),
            "rmse": self.spread * (sum(squared) / sum(count)) ** 0.5,
            "r2": sum(scores) / self.columns,
        }


class NextToken:
    """How well outputs [N, T, K] foresee the next tokens [N, T], whatever loss is trained."""

    def __init__(self, names: tuple[str, ...] = ("perplexity", "bits_per_character")) -> None:
        self.names = names

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the negative log-likelihood of the tokens, in nats, and how many there are."""
        tokens = targets[0].flatten()
        logits = outputs.flatten(0, -2).float()
        nats = functional.cross_entropy(logits, tokens, ignore_index=IGNORED, reduction="none")
        return torch.stack([nats.double().sum(), (tokens != IGNORED).sum().double()])

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return e^H and H / log 2 for the mean H over the tokens."""
        nats = ratio(*sums)
        measured = {
            "perplexity": exp(min(nats, HIGHEST_EXPONENT)),
            "bits_per_character": nats / log(2),
        }
        return {name: measured[name] for name in self.names}


class Transcription:
    """Edits that turn what is heard into what was said, as a share of what was said.

    Outputs [N, T, K] are decoded greedily. Words end at the symbol that is a space; where there is
    none, a text is one word.
    """

    names = ("character_error_rate", "word_error_rate")

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.space = symbols.index(" ") if " " in symbols else None

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return edits and length in characters, then in words."""
        texts, frames, lengths = targets
        said, heard = (texts, lengths), decode(outputs, frames)
        # what was said is the shorter text, which is walked symbol by symbol
        words = words_of(*said, self.space), words_of(*heard, self.space)
        counted = []
        for one, other in ((said, heard), words):
            counted += [edit_distances(*one, *other).sum(), one[1].sum()]
        return torch.stack(counted).double()

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return both rates; beyond 1 where more is heard than was said."""
        character_edits, characters, word_edits, words = sums
        return {
            "character_error_rate": ratio(character_edits, characters),
            "word_error_rate": ratio(word_edits, words),
        }


def training_metric(problem: Problem) -> Metric:
    """Return what is measured at every training step of a problem: a glance at its outputs."""
    match problem.task:
        case "classification" | "tagging":
            return Accuracy()
        case "regression":
            return AbsoluteError(problem.spread)
        case "language_model":
            return NextToken(("perplexity",))
        case "transcription":
            return Unmeasured()  # decoding costs more than a step


def evaluation_metric(problem: Problem) -> Metric:
    """Return what is measured of the validation and the test split of a problem."""
    match problem.task:
        case "classification":
            return Classification(problem.outputs)
        case "regression":
            return Regression(problem.outputs, problem.spread)
        case "tagging":
            return Accuracy()
        case "language_model":
            return NextToken()
        case "transcription":
            return Transcription(problem.names)


def labels_of(target: Tensor) -> Tensor:
    """Return the classes of targets that are classes, or probabilities [..., K] of them."""
    return target.argmax(-1) if target.is_floating_point() else target


def ratio(part: float, whole: float) -> float:
    """Return the share, 0 of nothing."""
    return part / whole if whole else 0.0
