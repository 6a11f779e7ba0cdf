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
        default="lstm", description="what a step does: Elman's tanh network, or one with gates"
    )
    hidden: int = Field(default=128, ge=1, le=WIDEST, description="units of each layer's state")
    layers: int = Field(default=1, ge=1, le=100, description="one upon the other")
    bidirectional: bool = Field(
        default=False, description="a second walk from the end, its outputs beside the first's"
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share silenced between layers and before the output"
    )
    embedding: Annotated[int, Field(ge=1, le=WIDEST)] | None = Field(
        default=None,
        description="numbers that a token becomes, or a linear layer makes of a step's; null: as "
        "many as hidden, and of numbers no layer",
    )
    pool: Pool | None = Field(
        default=None, description="what answers once: the last state, or each feature's mean or max"
    )
    tied: bool = Field(
        default=False, description="write tokens with the weights that they are read with"
    )
    init: RecurrentInitialization = Field(
        default="default", description="how the starting weights are drawn"
    )
    forget_bias: Annotated[float, Field(ge=-10, le=10)] | None = Field(
        default=None, description="of an lstm, at the start; null is 1 with init orthogonal"
    )

    @model_validator(mode="after")
    def _only_an_lstm_forgets(self) -> "RNNConfig":
        if self.forget_bias is not None and self.cell != "lstm":
            raise ValueError(f"forget_bias belongs to cell lstm; cell is {self.cell}")
        return self

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for samples that have no steps, and ConfigKeyError for an option that
        the problem has no use for.
        """
        features = features_of(problem)
        self._refuse_what_does_not_fit(problem)
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

    def _refuse_what_does_not_fit(self, problem: Problem) -> None:
        """Raise ConfigKeyError for an option that the problem has no use for."""
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
                "a language model must not read backwards",
                "it would see the token that it is to predict",
                "model.bidirectional=false",
            )
        if self.tied and network is not LanguageModel:
            raise ConfigKeyError(
                ("model", "tied"),
                f"the outputs of a {problem.task} problem are not the tokens that are read",
                "weights are shared in language models",
                "model.tied=false",
            )
        if self.tied and self.embedding not in (None, self.hidden):
            raise ConfigKeyError(
                ("model", "tied"),
                f"the embedding has {self.embedding} numbers, the output reads {self.hidden}",
                "weights that are shared have one shape",
                f"model.embedding={self.hidden}, or model.tied=false",
            )


def features_of(problem: Problem) -> int:
    """Return how many numbers a step has; 1 of tokens.

    An image [C, H, W] is H steps of C W numbers. Raises UsageError for samples without steps.
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
