"""The next token by the one before it: how often each follows each in the training text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bptrain.data.text.text_stream import TextStream
from bptrain.experiment.data_facts import class_shares
from bptrain.losses import BaseLossConfig

MOST_TOKENS = 256  # of a vocabulary: a table of all pairs is stored with the run
MOST_PAIRS = 10**7  # that are counted


@dataclass(frozen=True)
class Bigram:
    """The outputs [V, V] for the token that follows each token."""

    name: str
    table: Tensor
    note: str = ""

    def outputs(self, inputs: tuple[Any, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Return the outputs [N, T, V] for tokens [N, T]."""
        tokens: Tensor = inputs[0]
        return self.table.to(tokens.device)[tokens]


def bigram_model(train: TextStream, vocabulary: int, loss: BaseLossConfig) -> Iterator[Bigram]:
    """Yield the bigram model of a training text, unless its vocabulary is large.

    p(b | a) = (n_ab + p_b) / (n_a + 1): a pair that was never seen is as likely as its second token
    after a token that was seen once.
    """
    if vocabulary > MOST_TOKENS:
        return
    tokens = train.tokens[: MOST_PAIRS + 1].long().cpu()
    note = "" if len(tokens) == len(train.tokens) else f"counted in the first {MOST_PAIRS:,} tokens"
    pairs = torch.bincount(tokens[:-1] * vocabulary + tokens[1:], minlength=vocabulary**2)
    counts = pairs.view(vocabulary, vocabulary).double()
    shares = class_shares([tokens], vocabulary).double()
    smoothed = (counts + shares) / (counts + shares).sum(1, keepdim=True)
    yield Bigram("bigram_frequencies", loss.outputs_meaning(smoothed).float(), note)
