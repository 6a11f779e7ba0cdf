"""Sequences whose answer lies far back: what a recurrent network can hold in mind."""

from typing import Literal

import torch
from pydantic import Field

from bptrain.data.generated.generated_config import GeneratedConfig
from bptrain.data.splits import IGNORED, Samples
from bptrain.problem import Problem


class AddingConfig(GeneratedConfig):
    """Add the two numbers of a sequence that are marked.

    At each step a number from 0 to 1 and a marker, 1 at a step of the first half and at one of the
    second, else 0. Always answering 1 has a squared error of 1/6, the variance of the sum.
    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, experiment 4, in the form
    of Le, Jaitly and Hinton, 2015: numbers from 0 to 1, and sequences of one length.
    """

    kind: Literal["adding"] = "adding"
    length: int = Field(default=100, ge=2, le=100_000, description="steps of each sequence")

    def problem(self) -> Problem:
        """Return what each sequence asks."""
        return Problem("regression", (self.length, 2), 1, is_sequence=True, names=("sum",))

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return sequences [N, T, 2] and sums [N, 1]."""
        half = self.length // 2
        inputs = torch.zeros(samples, self.length, 2)
        inputs[:, :, 0] = torch.rand(samples, self.length, generator=generator)
        first = torch.randint(half, (samples,), generator=generator)
        second = torch.randint(half, self.length, (samples,), generator=generator)
        for marked in (first, second):
            inputs[torch.arange(samples), marked, 1] = 1
        return Samples(inputs, (inputs[:, :, 0] * inputs[:, :, 1]).sum(1, keepdim=True))


class CopyConfig(GeneratedConfig):
    """Read symbols, wait, and say them again, in their order, when the signal comes.

    Inputs are one-hot: one for each symbol, one for waiting and one for the signal,
    which lasts while the answer is given. Only the steps of the answer count.
    Source: Hochreiter and Schmidhuber, 1997; the form of Arjovsky, Shah and Bengio, 2016.
    """

    kind: Literal["copy"] = "copy"
    symbols: int = Field(default=8, ge=2, le=1_000, description="different ones")
    recall: int = Field(default=10, ge=1, le=1_000, description="symbols of a sequence")
    delay: int = Field(default=20, ge=0, le=100_000, description="steps of waiting")

    def problem(self) -> Problem:
        """Return what each sequence asks."""
        shape = (2 * self.recall + self.delay, self.symbols + 2)
        names = tuple(map(str, range(self.symbols)))
        return Problem("tagging", shape, self.symbols, is_sequence=True, names=names)

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return sequences [N, T, symbols + 2] and the symbol of each step [N, T]."""
        said = torch.randint(self.symbols, (samples, self.recall), generator=generator)
        waiting, signal = (
            torch.full((samples, steps), self.symbols + place)
            for place, steps in enumerate((self.delay, self.recall))
        )
        tokens = torch.cat([said, waiting, signal], dim=1)
        inputs = torch.zeros(*tokens.shape, self.symbols + 2)
        inputs.scatter_(2, tokens.unsqueeze(2), 1)
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -self.recall :] = said
        return Samples(inputs, targets)


class ParityConfig(GeneratedConfig):
    """Whether the ones among the bits of a sequence are odd in number: one bit changes all.

    A one is an input of 1, a zero is one of -1.
    """

    kind: Literal["parity"] = "parity"
    length: int = Field(default=10, ge=1, le=100_000, description="bits of each sequence")
    task: Literal["classification", "tagging"] = Field(
        default="classification", description="asked at the end, or at every step of those so far"
    )

    def problem(self) -> Problem:
        """Return what each sequence asks."""
        return Problem(self.task, (self.length, 1), 2, is_sequence=True, names=("even", "odd"))

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return sequences [N, T, 1] and parities [N], or [N, T] at every step."""
        bits = torch.randint(2, (samples, self.length), generator=generator)
        parities = bits.cumsum(1) % 2
        targets = parities if self.task == "tagging" else parities[:, -1].contiguous()
        return Samples(bits.unsqueeze(2) * 2.0 - 1, targets)
