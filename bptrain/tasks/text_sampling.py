"""Text written by a trained language model: continuations of prompts, and the sample of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bptrain.rundir.durable_files import replace_file, storing
from bptrain.tasks.text_generation import generate

SAMPLE = "sample.txt"
LINE_END = "\n"


class Vocabulary(Protocol):
    """Turns text into tokens and back."""

    def encode(self, text: str) -> Tensor:
        """Return the tokens [n] of a text."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        ...


class Prompts(Protocol):
    """What a model continues."""

    @property
    def inputs(self) -> Tensor:
        """Tokens [N, T]."""
        ...


class TextData(Protocol):
    """The data that a language model was trained on, as far as sampling needs it."""

    @property
    def unit(self) -> str:
        """What a token stands for: "character" or "byte"."""
        ...

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Prompts:
        """Return prompts, each a text or the name of a file."""
        ...

    def prepare_texts(self, texts: Sequence[str], prepared: Mapping[str, Any]) -> Prompts:
        """Return prompts that are texts, whatever files there are."""
        ...

    def vocabulary(self, prepared: Mapping[str, Any]) -> Vocabulary:
        """Return the vocabulary that was fitted on the training part."""
        ...


@dataclass(frozen=True)
class SamplingOptions:
    """How a text is drawn.

    length       characters or bytes, the prompt not included
    temperature  0 takes the most likely symbol each time, 1 draws by the model's probabilities;
                 a little below 1 there are fewer misspellings, and no loops yet
    """

    length: int = 1000
    temperature: float = 0.8
    seed: int = 0

    @classmethod
    def of(
        cls, length: int | None, temperature: float | None, seed: int | None
    ) -> "SamplingOptions | None":
        """Return the options, None if none of them is given."""
        if length is None and temperature is None and seed is None:
            return None
        return cls(
            cls.length if length is None else length,
            cls.temperature if temperature is None else temperature,
            cls.seed if seed is None else seed,
        )


def continue_texts(
    data: TextData,
    model: nn.Module,
    prompts: Sequence[str],
    prepared: Mapping[str, Any],
    options: SamplingOptions,
) -> list[str]:
    """Return the continuation of each prompt, a text or the name of a file.

    It is a function of the prompt and the seed, whatever the other prompts are. Raises DataError
    for an empty prompt, UsageError for an invalid temperature.
    """
    # one by one: prompts of different lengths would end in padding
    inputs = [data.prepare([prompt], prepared).inputs for prompt in prompts]
    return [continue_tokens(data, model, tokens, prepared, options) for tokens in inputs]


def write_sample(
    run_dir: Path,
    data: TextData,
    model: nn.Module,
    prepared: Mapping[str, Any],
    seed: int,
    length: int = SamplingOptions.length,
) -> str:
    """Write a text by the model into the run's `sample.txt`, and return it.

    It begins as after the end of a line; where the text has no lines, as after its first symbol in
    the order of the vocabulary.
    """
    symbols = prepared["symbols"]
    opening = LINE_END if data.unit == "byte" or LINE_END in symbols else symbols[1]
    tokens = data.vocabulary(prepared).encode(opening).long().unsqueeze(0)
    text = continue_tokens(data, model, tokens, prepared, SamplingOptions(length, seed=seed))
    with storing(run_dir / SAMPLE):
        replace_file(run_dir / SAMPLE, text.encode())
    return text


def continue_tokens(
    data: TextData,
    model: nn.Module,
    tokens: Tensor,
    prepared: Mapping[str, Any],
    options: SamplingOptions,
) -> str:
    """Return the continuation of the tokens [1, T] of a prompt."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(options.seed)
    drawn = generate(model, tokens.to(device), options.length, options.temperature, generator)
    return data.vocabulary(prepared).decode(drawn[0].tolist())
