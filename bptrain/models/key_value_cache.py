"""What a transformer remembers of a text while it writes: keys and values of the steps so far.

A step's keys and values depend on the steps before it alone, so that they stay what they are when
the text continues: the next token needs its own query, key and value, and no other step again.
"""

import torch
from torch import Tensor


class LayerCache:
    """Keys and values of one layer, [N, A, context, E] each, `length` steps of which are known."""

    def __init__(self, context: int) -> None:
        self.context, self.length = context, 0
        self.keys = self.values = torch.empty(0)

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of all steps, [N, A, T, E] of which are new."""
        samples, heads, steps, size = keys.shape
        if self.length == 0:
            self.keys = keys.new_empty(samples, heads, self.context, size)
            self.values = torch.empty_like(self.keys)
        first, self.length = self.length, self.length + steps
        self.keys[:, :, first : self.length] = keys
        self.values[:, :, first : self.length] = values
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class TextCache:
    """The tokens [N, n] of a text that are in view, and each layer's keys and values of them."""

    def __init__(self, layers: int, context: int) -> None:
        self.number, self.context = layers, context
        self.tokens: Tensor | None = None
        self.layers: list[LayerCache] = []

    @property
    def length(self) -> int:
        """How many tokens are in view."""
        return 0 if self.tokens is None else self.tokens.shape[1]

    @property
    def room(self) -> int:
        """How many more tokens the context takes."""
        return self.context - self.length

    def begin(self) -> None:
        """Forget everything."""
        self.tokens = None
        self.layers = [LayerCache(self.context) for _ in range(self.number)]

    def add(self, tokens: Tensor) -> None:
        """Note tokens [N, T] whose keys and values the layers are about to add."""
        self.tokens = tokens if self.tokens is None else torch.cat([self.tokens, tokens], 1)

    def last(self, count: int) -> Tensor:
        """Return the last tokens [N, count] in view."""
        assert self.tokens is not None
        return self.tokens[:, self.length - count :]
