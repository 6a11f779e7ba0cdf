"""Language models: the next token at each step of an endless text."""

from collections.abc import Iterator
from math import exp, log

import torch
from torch import Tensor
from torch.nn import functional

from bptrain.problem import Problem
from bptrain.tasks.accuracy import told_steps
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.task import IGNORED, Described, Task, class_names, ratio

LINE_END = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"  # so that texts of one length look so
HIGHEST_EXPONENT = 700.0  # of e; beyond it float64 overflows, and JSON has no infinity


class NextToken:
    """How well outputs [N, T, K] predict the next tokens [N, T], whatever loss is trained."""

    larger_is_better = ()

    def __init__(self, names: tuple[str, ...] = ("perplexity", "bits_per_character")) -> None:
        self.names = names

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the negative log-likelihood of the tokens, in nats, and how many there are."""
        tokens = targets[0].flatten()
        logits = outputs.flatten(0, -2).float()
        nats = functional.cross_entropy(logits, tokens, ignore_index=IGNORED, reduction="none")
        return torch.stack([nats.double().sum(), (tokens != IGNORED).sum().double()])

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return e^H and H / log 2 for the mean H over the tokens."""
        nats = ratio(*sums)
        found = {
            "perplexity": exp(min(nats, HIGHEST_EXPONENT)),
            "bits_per_character": nats / log(2),
        }
        return {name: found[name] for name in self.names}


class NextTokenByLoss(NextToken):
    """The same of a training step, where its loss is the mean negative log-likelihood."""

    def sums_of_loss(self, loss: Tensor, weight: int) -> Tensor:
        """Return the negative log-likelihood of all tokens, in nats, and how many there are."""
        count = loss.new_tensor(weight, dtype=torch.float64)
        return torch.stack([loss.double() * count, count])


def describe(
    outputs: Tensor, targets: tuple[Tensor, ...], problem: Problem, decision: Decision
) -> Iterator[Described]:
    """Yield the next symbols of each window, and the likeliest ones."""
    names = [LINE_END if name in ("\n", "0x0a") else name for name in class_names(problem)]
    yield from told_steps(outputs, targets[0], names, "")


LANGUAGE_MODEL = Task(
    losses=("cross_entropy",),
    training_metric=lambda problem: NextToken(("perplexity",)),
    metric_of_likelihood=NextTokenByLoss(("perplexity",)),
    evaluation_metric=lambda problem, decision=BY_SOFTMAX: NextToken(),
    figures=lambda problem, decision=BY_SOFTMAX: [],
    predictions=None,
    describe=describe,
    constant="token_frequencies",
)
