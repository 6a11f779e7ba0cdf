"""The vocabulary of a language model: a token for each character of a text, or for each byte."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # token 0: every character that the training text lacks
CODE_POINTS = 0x110000
DTYPES = (np.uint8, np.int16, np.int32)  # the smallest that holds all tokens is taken


class Vocabulary(Protocol):
    """Turns text into tokens and back."""

    @property
    def names(self) -> tuple[str, ...]:
        """The printable name of each token."""
        ...

    def encode(self, text: str) -> Tensor:
        """Return the tokens [n] of a text, in as few bytes as they need."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        ...


@dataclass(frozen=True)
class CharacterVocabulary:
    """A token for each character in `names`, which begins with the unknown one."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "CharacterVocabulary":
        """Return the vocabulary of a text, in the order of the code points."""
        return cls((UNKNOWN, *sorted(set(text) - {UNKNOWN})))

    def encode(self, text: str) -> Tensor:
        """Return the tokens [n] of a text; a character without one becomes token 0."""
        dtype = next(each for each in DTYPES if np.iinfo(each).max >= len(self.names) - 1)
        # a table of all code points: a lookup a character, and 0 wherever nothing was entered
        token_of = np.zeros(CODE_POINTS, dtype)
        token_of[code_points("".join(self.names[1:]))] = np.arange(1, len(self.names))
        return torch.from_numpy(token_of[code_points(text)])

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return "".join(self.names[token] for token in tokens)


class ByteVocabulary:
    """A token for each of the 256 values of a byte of UTF-8: it has a token for every text."""

    names = tuple(chr(byte) if 32 <= byte < 127 else f"0x{byte:02x}" for byte in range(256))

    def encode(self, text: str) -> Tensor:
        """Return the bytes [n] of a text."""
        # surrogateescape: a command line holds what is no UTF-8 in this form
        content = text.encode("utf-8", "surrogateescape")
        return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, the unknown character for bytes that form none."""
        return bytes(tokens).decode("utf-8", "replace")


def code_points(text: str) -> np.ndarray:
    """Return the numbers [n] of a text's characters."""
    # surrogatepass: a character that no text may hold, for which there is no token either
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
