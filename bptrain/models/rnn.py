"""Recurrent networks: rnn, lstm and gru, for sequences, texts and images read row by row."""

from math import prod
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.models.recurrent import (
    LanguageModel,
    OutputEachStep,
    OutputOnce,
    Pool,
    RecurrentNetwork,
)
from bptrain.models.recurrent_initialization import RecurrentInitialization, initialize_recurrent
from bptrain.problem import Problem

WIDEST = 65_536  # units: W_hh of an lstm would take 64 GB

NETWORKS: dict[str, type[RecurrentNetwork]] = {
    "sample": OutputOnce,
    "step": OutputEachStep,
    "unaligned step": OutputEachStep,
    "carried step": LanguageModel,
}
CELLS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


class RNNConfig(StrictConfig):
    """A recurrent network."""

    kind: Literal["rnn"] = "rnn"
    cell: Literal["rnn", "lstm", "gru"] = Field(
        default="lstm",
        description="recurrent cell: rnn (Elman network with tanh), lstm or gru; the gates of "
        "lstm and gru learn longer dependencies",
    )
    hidden: int = Field(
        default=128, ge=1, le=WIDEST, description="size of the hidden state of each layer"
    )
    layers: int = Field(default=1, ge=1, le=100, description="number of stacked recurrent layers")
    bidirectional: bool = Field(
        default=False,
        description="also read the sequence backward, and concatenate the outputs of both "
        "directions. Set it where the whole sequence is known before the prediction",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that dropout zeroes an output of a recurrent layer in training, "
        "between layers and before the output layer; 0 is no dropout",
    )
    embedding: Annotated[int, Field(ge=1, le=WIDEST)] | None = Field(
        default=None,
        description="size of the embedding of tokens, or of a linear layer on other inputs. By "
        "default (null) tokens have embeddings of size hidden, and other inputs no linear layer",
    )
    pool: Pool | None = Field(
        default=None,
        description="how one output per sequence is computed: from the last hidden state, or the "
        "mean or max of the hidden states over time; null is last",
    )
    tied: bool = Field(
        default=False,
        description="language models only: share one weight matrix between the embedding and the "
        "output layer; fewer parameters",
    )
    init: RecurrentInitialization = Field(
        default="default",
        description="initialization scheme. orthogonal: orthogonal recurrent weights, "
        "xavier_uniform for others, biases 0; helps with long sequences. default: torch.nn's own",
    )
    forget_bias: Annotated[float, Field(ge=-10, le=10)] | None = Field(
        default=None,
        description="lstm only: initial bias of the forget gate; larger values remember longer. "
        "By default (null) 1 with init orthogonal, else torch.nn's own",
    )

    @model_validator(mode="after")
    def _forget_bias_needs_an_lstm(self) -> "RNNConfig":
        if self.forget_bias is not None and self.cell != "lstm":
            raise ValueError(f"forget_bias needs cell lstm, but cell is {self.cell}")
        return self

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for samples without time steps, and ConfigKeyError for an option that
        does not apply to the problem.
        """
        features = features_of(problem)
        self._refuse_inapplicable_options(problem)
        first: nn.Embedding | nn.Linear | None = None
        if problem.vocabulary:
            features = self.embedding or self.hidden
            padding = 0 if problem.varies else None
            first = nn.Embedding(problem.vocabulary, features, padding, device=device)
        elif self.embedding is not None:
            first = nn.Linear(features, self.embedding, device=device)
            features = self.embedding
        layers = self._layers(features, device)
        output = nn.Linear(self.hidden * (1 + self.bidirectional), problem.outputs, device=device)
        model = NETWORKS[problem.output_kind.per](first, self.cell, layers, self.dropout, output)
        if isinstance(model, OutputOnce):
            model.pool = self.pool or "last"
        if isinstance(model, LanguageModel) and self.tied:
            model.tie()
        initialize_recurrent(model, self.init, self.forget_bias)
        return model

    def _layers(self, features: int, device: torch.device | str) -> nn.RNN | nn.LSTM | nn.GRU:
        """Return the recurrent layers, batch first."""
        return CELLS[self.cell](
            features,
            self.hidden,
            self.layers,
            batch_first=True,
            dropout=self.dropout if self.layers > 1 else 0.0,
            bidirectional=self.bidirectional,
            device=device,
        )

    def _refuse_inapplicable_options(self, problem: Problem) -> None:
        """Raise ConfigKeyError for an option that does not apply to the problem."""
        network = NETWORKS[problem.output_kind.per]
        if self.pool is not None and network is not OutputOnce:
            raise ConfigKeyError(
                ("model", "pool"),
                f"a {problem.task} problem has an output at every step",
                "there is nothing to pool",
                "leave model.pool out",
            )
        if self.bidirectional and network is LanguageModel:
            raise ConfigKeyError(
                ("model", "bidirectional"),
                "a language model cannot be bidirectional",
                "it would see the token that it is to predict",
                "model.bidirectional=false",
            )
        if self.tied and network is not LanguageModel:
            raise ConfigKeyError(
                ("model", "tied"),
                f"the outputs of a {problem.task} problem are not its input tokens",
                "only language models can share weights between embedding and output layer",
                "model.tied=false",
            )
        if self.tied and self.embedding not in (None, self.hidden):
            raise ConfigKeyError(
                ("model", "tied"),
                f"the embedding has size {self.embedding}, the output layer reads {self.hidden}",
                "shared weights need one shape",
                f"model.embedding={self.hidden}, or model.tied=false",
            )


def features_of(problem: Problem) -> int:
    """Return the number of features of a time step; 1 for tokens.

    An image [C, H, W] is H steps of C W features. Raises UsageError for samples without steps.
    """
    shape = problem.input_shape
    if problem.is_sequence and len(shape) <= 2:
        return prod(shape[1:])
    if len(shape) == 3 and not problem.is_sequence:
        channels, _, width = shape
        return channels * width
    raise UsageError(
        f"an rnn cannot read samples of the shape [{', '.join(map(str, shape))}]",
        "it reads sequences [time, features], and images [channels, height, width] row by row",
        "model.kind=mlp",
    )
