"""Transformers: encoders of texts, sequences and images, and decoders that model language."""

from math import prod, sqrt
from typing import Annotated, Literal

import torch
from pydantic import Field

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.models.attention_block import SelfAttention, TransformerBlock
from bptrain.models.attention_network import (
    Transformer,
    TransformerEachStep,
    TransformerLanguageModel,
    TransformerOnce,
)
from bptrain.problem import Problem

Positions = Literal["learned", "rotary", "sinusoidal"]

WIDEST = 65_536
PATCH = 4
NETWORKS: dict[str, type[Transformer]] = {
    "sample": TransformerOnce,
    "step": TransformerEachStep,
    "unaligned step": TransformerEachStep,
    "carried step": TransformerLanguageModel,
}


class TransformerConfig(StrictConfig):
    """A transformer: blocks of self-attention and perceptrons, each step of the input a vector."""

    kind: Literal["transformer"] = "transformer"
    width: int = Field(
        default=128,
        ge=1,
        le=WIDEST,
        description="size of the vector of each step, in all layers; a multiple of heads",
    )
    depth: int = Field(
        default=4, ge=1, le=200, description="number of blocks, each attention and a perceptron"
    )
    heads: int = Field(
        default=4,
        ge=1,
        le=1024,
        description="attention heads of each block, which share its width: each may look at other "
        "steps. 32 to 64 numbers a head are usual",
    )
    mlp_ratio: float = Field(
        default=4.0,
        gt=0,
        le=64,
        description="hidden units of each block's perceptron, as a multiple of width",
    )
    activation: Literal["gelu", "relu"] = Field(
        default="gelu", description="activation function of the perceptrons"
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that dropout zeroes a number of the embedding, or of what a "
        "block's attention or perceptron adds, in training; 0 is no dropout",
    )
    positions: Positions | None = Field(
        default=None,
        description="how the order of the steps is told. learned: a vector for each step, up to "
        "the longest of training. sinusoidal: the same by sines and cosines, for any length. "
        "rotary: queries and keys are turned, so that attention depends on how far apart two steps "
        "are. null is rotary for sequences and learned for images",
    )
    patch: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        description="images only: height and width of the square patches that are the steps; they "
        "must divide the image. null is 4",
    )
    tied: bool = Field(
        default=False,
        description="language models only: share one weight matrix between the embedding and the "
        "output layer; fewer parameters",
    )

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for samples without steps, ConfigKeyError for an option that does not fit.
        """
        name, first, steps = self._first(problem, device)
        positions = self.positions or ("learned" if name == "patches" else "rotary")
        network = NETWORKS[problem.output_kind.per]
        self._refuse_what_does_not_fit(problem, network, positions)
        layers: dict[str, torch.nn.Module] = {name: first}
        if positions == "learned":
            layers["position"] = nn.Embedding(steps, self.width, device=device)
        layers["dropout"] = nn.Dropout(self.dropout)
        for number in range(1, self.depth + 1):
            layers[f"block{number}"] = self._block(network, positions, device)
        layers["norm"] = nn.LayerNorm(self.width, device=device)
        layers["output"] = nn.Linear(self.width, problem.outputs, device=device)
        is_bounded = positions == "learned" or network is TransformerLanguageModel
        model = network(layers, positions, steps if is_bounded else None)
        initialize_transformer(model)
        if self.tied and isinstance(model, TransformerLanguageModel):
            model.tie()
        return model

    def _first(
        self, problem: Problem, device: torch.device | str
    ) -> tuple[str, torch.nn.Module, int]:
        """Return name and layer of what makes a vector of each step, and the number of steps."""
        shape, width = problem.input_shape, self.width
        if problem.vocabulary:
            padding = 0 if problem.varies else None
            embedding = nn.Embedding(problem.vocabulary, width, padding, device=device)
            return "embedding", embedding, shape[0]
        if problem.is_sequence and len(shape) <= 2:
            return "input", nn.Linear(prod(shape[1:]), width, device=device), shape[0]
        if problem.is_sequence or len(shape) != 3:
            raise UsageError(
                f"a transformer cannot read samples of the shape [{', '.join(map(str, shape))}]",
                "it reads sequences [time, features], and images [channels, height, width]",
                "model.kind=mlp",
            )
        channels, *size = shape
        patch = self.patch or PATCH
        if any(side % patch for side in size):
            raise ConfigKeyError(
                ("model", "patch"),
                f"patches of {patch} x {patch} do not divide images of {size[0]} x {size[1]}",
                hint="a divisor of both, or data.size",
            )
        conv = nn.Conv2d(channels, width, patch, patch, device=device)
        return "patches", conv, prod(side // patch for side in size)

    def _block(
        self, network: type[Transformer], positions: Positions, device: torch.device | str
    ) -> TransformerBlock:
        attention = SelfAttention(
            self.width,
            self.heads,
            is_causal=network is TransformerLanguageModel,
            is_rotary=positions == "rotary",
            device=device,
        )
        hidden = max(1, round(self.mlp_ratio * self.width))
        return TransformerBlock(
            attention, self.width, hidden, self.activation, self.dropout, device
        )

    def _refuse_what_does_not_fit(
        self, problem: Problem, network: type[Transformer], positions: Positions
    ) -> None:
        """Raise ConfigKeyError for sizes that do not divide, and options of other problems."""
        if self.width % self.heads:
            raise ConfigKeyError(
                ("model", "heads"),
                f"{self.heads} heads cannot share a width of {self.width}",
                hint="model.heads that divides model.width",
            )
        turned = self.width // self.heads if positions == "rotary" else self.width
        if positions != "learned" and turned % 2:
            raise ConfigKeyError(
                ("model", "positions"),
                f"{positions} needs pairs of numbers: {turned} is odd",
                hint="an even width / heads, or model.positions=learned",
            )
        if self.patch is not None and (problem.is_sequence or len(problem.input_shape) != 3):
            raise ConfigKeyError(
                ("model", "patch"), "only images have patches", hint="leave model.patch out"
            )
        if self.tied and network is not TransformerLanguageModel:
            raise ConfigKeyError(
                ("model", "tied"),
                f"the outputs of a {problem.task} problem are not its input tokens",
                "only language models can share weights between embedding and output layer",
                "model.tied=false",
            )


def initialize_transformer(model: Transformer) -> None:
    """Draw the weights from N(0, 1 / fan_in), an embedding's from N(0, 1 / width); biases are 0.

    What a block adds to the sum is drawn smaller by sqrt(2 depth), as in GPT-2: the 2 depth
    branches together keep its size, whatever the depth.
    """
    adds = ("attention.output", "linear2")
    for name, layer in model.named_modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.Embedding)) or layer.weight.is_meta:
            continue
        std = layer.weight[0].numel() ** -0.5
        std /= sqrt(2 * len(model.block_names)) if name.endswith(adds) else 1
        torch.nn.init.normal_(layer.weight, 0, std)
        if not isinstance(layer, nn.Embedding):
            torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # each has one
        elif layer.padding_idx is not None:
            torch.nn.init.zeros_(layer.weight[layer.padding_idx])
