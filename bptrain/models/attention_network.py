"""Transformers, by when they have an output: once, at each step, or as a language model."""

import torch
from torch import Tensor

from bptrain import nn
from bptrain.errors import DataError
from bptrain.models.attention_block import TransformerBlock, Turns
from bptrain.models.key_value_cache import LayerCache, TextCache
from bptrain.models.packing import mean_over_time
from bptrain.ops.mul import mul

BASE = 10_000.0  # the slowest angle turns once in 2 pi BASE steps: Vaswani et al. 2017


class Transformer(torch.nn.Module):
    """An embedding, positions, blocks, a normalization, and a linear output.

    Base class; the subclasses differ in when they have an output.

    layers     by name: embedding (of tokens), input (a linear layer on features) or patches (a
               convolution on images); position, where they are learned; dropout, block1, ..., norm,
               output
    positions  learned     a vector for each step, added to the embedding
               sinusoidal  the same, of sines and cosines of the step
               rotary      queries and keys are turned in each block
    context    longest sequence that can be read; None for any
    """

    def __init__(
        self, layers: dict[str, torch.nn.Module], positions: str, context: int | None
    ) -> None:
        super().__init__()
        self.positions, self.context = positions, context
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.add = nn.Add()
        self.first_name = next(iter(layers))
        self.block_names = tuple(name for name in layers if name.startswith("block"))

    def embed(self, input: Tensor) -> Tensor:
        """Return [N, T, W] for tokens [N, T], features [N, T, ...] or images [N, C, H, W]."""
        first = self.get_submodule(self.first_name)
        if self.first_name == "patches":
            patches: Tensor = first(input).flatten(2).transpose(1, 2)
            return patches
        x = input.unsqueeze(2) if self.first_name == "input" and input.dim() == 2 else input
        embedded: Tensor = first(x)
        return embedded

    def run_blocks(
        self,
        embedded: Tensor,
        first_step: int = 0,
        mask: Tensor | None = None,
        caches: list[LayerCache] | None = None,
    ) -> Tensor:
        """Return the normalized features [N, T, W] of steps that count from `first_step` on."""
        x, turns = self.placed(embedded, first_step)
        for number, name in enumerate(self.block_names):
            block: TransformerBlock = self.get_submodule(name)  # type: ignore[assignment]
            x = block(x, turns, mask, None if caches is None else caches[number])
        features: Tensor = self.get_submodule("norm")(x)
        return features

    def placed(self, embedded: Tensor, first_step: int) -> tuple[Tensor, Turns | None]:
        """Return the blocks' input, and what turns queries and keys, as positions say."""
        end = first_step + embedded.shape[1]
        if self.context is not None and end > self.context:
            raise DataError(
                f"a sequence of {end:,} steps: the model has positions of {self.context:,}",
                hint="shorter sequences, or a model trained on longer ones",
            )
        numbers = torch.arange(first_step, end, device=embedded.device)
        x, turns = embedded, None
        if self.positions == "learned":
            x = self.add(x, self.get_submodule("position")(numbers))
        elif self.positions == "sinusoidal":
            cos, sin = angles(numbers, x.shape[2])
            x = self.add(x, torch.cat([sin, cos], 1))
        else:
            block: TransformerBlock = self.get_submodule(self.block_names[0])  # type: ignore[assignment]
            turns = angles(numbers, x.shape[2] // block.attention.heads)
        dropped: Tensor = self.get_submodule("dropout")(x)
        return dropped, turns

    def project(self, features: Tensor) -> Tensor:
        """Return the outputs [..., K] of features [..., W]."""
        output: Tensor = self.get_submodule("output")(features)
        return output


class TransformerOnce(Transformer):
    """One output for a whole sequence or image, from the mean of the features over its steps."""

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [N, K] of sequences of `lengths` [N] steps, padded at their end."""
        embedded = self.embed(input)
        valid = None if lengths is None else steps_within(lengths, embedded)
        mask = None if valid is None else valid[:, None, None]
        return self.project(mean_over_time(self.run_blocks(embedded, mask=mask), valid))


class TransformerEachStep(Transformer):
    """An output at every step of a sequence; zeros where there is padding."""

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return [N, T, K] of sequences of `lengths` [N] steps, padded at their end."""
        embedded = self.embed(input)
        if lengths is None:
            return self.project(self.run_blocks(embedded))
        valid = steps_within(lengths, embedded)
        outputs = self.project(self.run_blocks(embedded, mask=valid[:, None, None]))
        return mul(outputs, valid[:, :, None].to(outputs.dtype))


class TransformerLanguageModel(Transformer):
    """Predicts the next token at every step of a text, from the steps before it.

    In training each window is a text of its own. In evaluation a text continues from call to call:
    keys and values of the tokens in view are kept (`view`). When the context is full, its last half
    is read again as the beginning of the view, so that each prediction has half a context of tokens
    before it at least, and no step is beyond those of training.
    """

    def __init__(self, layers: dict[str, torch.nn.Module], positions: str, context: int) -> None:
        super().__init__(layers, positions, context)
        self.window, self.view = context, TextCache(len(self.block_names), context)

    def tie(self) -> None:
        """Share one weight between the embedding and the output layer: Press and Wolf 2017."""
        self.get_submodule("output").weight = self.get_parameter("embedding.weight")

    def forward(self, tokens: Tensor, starts: bool = True) -> Tensor:
        """Return the logits [N, T, V] of the tokens that follow tokens [N, T].

        starts  in evaluation: whether a text begins here; else it continues the last call's
        """
        if self.training:
            return self.project(self.run_blocks(self.embed(tokens)))
        if starts or self.view.length == 0:
            self.view.begin()
        logits: list[Tensor] = []
        while tokens.shape[1]:
            piece = tokens[:, : self.view.room or self.window - self.window // 2]
            tokens = tokens[:, piece.shape[1] :]
            logits.append(self.continued(piece))
        return torch.cat(logits, 1) if len(logits) > 1 else logits[0]

    def continued(self, piece: Tensor) -> Tensor:
        """Return the logits [N, T, V] of a piece that fits, after the view's last half at most."""
        again = 0
        if self.view.room == 0:
            again = self.window // 2
            piece = torch.cat([self.view.last(again), piece], 1)
            self.view.begin()
        first, steps = self.view.length, piece.shape[1]
        self.view.add(piece)
        # without tokens before it, a piece has the causal mask of the layer
        mask = None if first == 0 else seen_before(first, steps, piece.device)
        features = self.run_blocks(self.embed(piece), first, mask, self.view.layers)
        return self.project(features[:, again:])


def angles(steps: Tensor, size: int) -> Turns:
    """Return cosine and sine [T, size / 2] of the angles a_tk = t BASE^(-2k / size)."""
    pairs = torch.arange(0, size, 2, device=steps.device) / size
    turned = steps[:, None] * torch.pow(BASE, -pairs)
    return turned.cos(), turned.sin()


def steps_within(lengths: Tensor, padded: Tensor) -> Tensor:
    """Return a mask [N, T], true for the steps of [N, T, ...] that are not padding."""
    steps = torch.arange(padded.shape[1], device=padded.device)
    return steps < lengths.to(padded.device)[:, None]


def seen_before(first: int, steps: int, device: torch.device) -> Tensor:
    """Return the causal mask [T, J] of steps that follow `first` others: J = first + T."""
    seen = torch.ones(steps, first + steps, dtype=torch.bool, device=device)
    return seen.tril(first)
