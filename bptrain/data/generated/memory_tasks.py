"""Sequences whose target depends on inputs far back: tests of a recurrent network's memory."""

from typing import Literal

import torch
from pydantic import Field

from bptrain.data.generated.generated_config import GeneratedConfig
from bptrain.data.splits import IGNORED, Samples
from bptrain.problem import Problem


class AddingConfig(GeneratedConfig):
    """The adding problem: the sum of the two marked numbers of a sequence (regression).

    Each step has a number from 0 to 1 and a marker, which is 1 at one step of the first half and at
    one of the second, else 0. Always predicting 1 has a mean squared error of 1/6, the variance of
    the sum.
    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, experiment 4, in the form
    of Le, Jaitly and Hinton, 2015: numbers from 0 to 1, and sequences of one length.
    """

    kind: Literal["adding"] = "adding"
    length: int = Field(
        default=100, ge=2, le=100_000, description="time steps of each sequence; longer is harder"
    )

    def problem(self) -> Problem:
        """Return the task and the shapes."""
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
    """The copy task: repeat the symbols at the start of a sequence after a delay (tagging).

    Inputs are one-hot: the symbols, a blank during the delay, and a signal during the steps in
    which the symbols are to be predicted. Other steps are ignored by the loss.
    Source: Hochreiter and Schmidhuber, 1997; the form of Arjovsky, Shah and Bengio, 2016.
    """

    kind: Literal["copy"] = "copy"
    symbols: int = Field(default=8, ge=2, le=1_000, description="number of different symbols")
    recall: int = Field(default=10, ge=1, le=1_000, description="symbols to repeat per sequence")
    delay: int = Field(
        default=20, ge=0, le=100_000, description="time steps between symbols and signal"
    )

    def problem(self) -> Problem:
        """Return the task and the shapes."""
        shape = (2 * self.recall + self.delay, self.symbols + 2)
        names = tuple(map(str, range(self.symbols)))
        return Problem("tagging", shape, self.symbols, is_sequence=True, names=names)

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return sequences [N, T, symbols + 2] and the symbol of each step [N, T]."""
        repeated = torch.randint(self.symbols, (samples, self.recall), generator=generator)
        blanks, signal = (
            torch.full((samples, steps), self.symbols + offset)
            for offset, steps in enumerate((self.delay, self.recall))
        )
        tokens = torch.cat([repeated, blanks, signal], dim=1)
        inputs = torch.zeros(*tokens.shape, self.symbols + 2)
        inputs.scatter_(2, tokens.unsqueeze(2), 1)
        targets = torch.full_like(tokens, IGNORED)
        targets[:, -self.recall :] = repeated
        return Samples(inputs, targets)


class ParityConfig(GeneratedConfig):
    """The parity of a sequence of bits: whether the number of ones is odd.

    A one is the input 1, a zero the input -1.
    """

    kind: Literal["parity"] = "parity"
    length: int = Field(
        default=10, ge=1, le=100_000, description="bits of each sequence; longer is harder"
    )
    task: Literal["classification", "tagging"] = Field(
        default="classification",
        description="classification predicts the parity of the sequence, tagging that of the bits "
        "so far at every time step",
    )

    def problem(self) -> Problem:
        """Return the task and the shapes."""
        return Problem(self.task, (self.length, 1), 2, is_sequence=True, names=("even", "odd"))

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return sequences [N, T, 1] and parities [N], or [N, T] at every step."""
        bits = torch.randint(2, (samples, self.length), generator=generator)
        parities = bits.cumsum(1) % 2
        targets = parities if self.task == "tagging" else parities[:, -1].contiguous()
        return Samples(bits.unsqueeze(2) * 2.0 - 1, targets)
