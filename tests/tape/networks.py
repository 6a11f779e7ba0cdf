"""Networks of every kind, each with a loss and a batch, small enough for many tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bptrain import nn
from bptrain.models import CNNConfig, MLPConfig, RNNConfig, SequentialConfig, TransformerConfig
from bptrain.problem import Problem


class Network(NamedTuple):
    """A model, a loss, and a batch of inputs and targets."""

    model: torch.nn.Module
    loss: torch.nn.Module
    inputs: tuple[Any, ...]
    targets: tuple[Tensor, ...]


IMAGES = Problem("classification", (2, 8, 8), 4)
SERIES = Problem("classification", (7, 3), 4, is_sequence=True)
TAGS = Problem("tagging", (7,), 4, 9, is_sequence=True, varies=True)
WORDS = Problem("classification", (7,), 4, 9, is_sequence=True, varies=True)
TEXT = Problem("language_model", (7,), 9, 9, is_sequence=True)
LENGTHS = torch.tensor([7, 2, 5, 5])


def of_images(config: Any, loss: torch.nn.Module | None = None) -> Network:
    model = config.build(IMAGES, "cpu")
    batch = (torch.randn(6, 2, 8, 8),), (torch.randint(4, (6,)),)
    return Network(model, loss or nn.CrossEntropyLoss(), *batch)


def of_series(**options: Any) -> Network:
    model = RNNConfig(hidden=5, **options).build(SERIES, "cpu")
    batch = (torch.randn(4, 7, 3),), (torch.randint(4, (4,)),)
    return Network(model, nn.CrossEntropyLoss(), *batch)


def of_words(problem: Problem, **options: Any) -> Network:
    model = RNNConfig(hidden=5, **options).build(problem, "cpu")
    shape = (4, 7) if problem is TAGS else (4,)
    inputs = torch.randint(1, 9, (4, 7)), LENGTHS
    return Network(model, TaggingLoss(problem is TAGS), inputs, (torch.randint(4, shape),))


class TaggingLoss(torch.nn.Module):
    """Cross-entropy with the classes last, as the taggers put them out."""

    def __init__(self, is_by_step: bool) -> None:
        super().__init__()
        self.is_by_step = is_by_step
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(outputs.transpose(1, 2) if self.is_by_step else outputs, targets)
        return loss


def of_text(**options: Any) -> Network:
    model = RNNConfig(hidden=5, **options).build(TEXT, "cpu")
    inputs = torch.randint(9, (3, 7)), False
    return Network(model, TaggingLoss(True), inputs, (torch.randint(9, (3, 7)),))


def transformer(problem: Problem, dropout: float = 0.0) -> torch.nn.Module:
    config = TransformerConfig(width=8, depth=1, heads=2, mlp_ratio=2, dropout=dropout)
    return config.build(problem, "cpu")


def of_words_by_attention() -> Network:
    inputs = torch.randint(1, 9, (4, 7)), LENGTHS
    return Network(transformer(WORDS), nn.CrossEntropyLoss(), inputs, (torch.randint(4, (4,)),))


def of_text_by_attention() -> Network:
    tokens, following = torch.randint(9, (2, 3, 7))
    model = transformer(TEXT, dropout=0.2)
    return Network(model, TaggingLoss(True), (tokens, True), (following,))


class Shared(torch.nn.Module):
    """One weight read three times, values with several readers, views between operations."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.add, self.cat = nn.Linear(5, 5), nn.Add(), nn.Concat()
        self.last = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear(x)
        second = self.linear(first.t().contiguous().t())
        third = self.add(self.linear(second.unsqueeze(1)).squeeze(1), first)
        output: Tensor = self.last(self.cat(third[:, :1].expand(-1, 4), third, second[:, 2:3]))
        return output


class Attentive(torch.nn.Module):
    """Self-attention over the rows of a batch, normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm, self.last = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.view(len(x), 2, 6)
        attended, _ = self.attention(rows, rows, rows, need_weights=False)
        output: Tensor = self.last(self.norm(attended)[:, 0])
        return output


class Signed(torch.nn.Module):
    """A number in the batch decides what runs, so that each step is recorded anew."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(x if x.sum() > 0 else -x)
        return output


class InPlace(torch.nn.Module):
    """Activations that overwrite their input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        self.relu(hidden)
        output: Tensor = self.last(hidden)
        return output


def regression(model: torch.nn.Module, features: int) -> Network:
    return Network(model, nn.MSELoss(), (torch.randn(6, features),), (torch.randn(6, 3),))


BLOCK = [
    {"Conv2d": {"out_channels": 3, "kernel_size": 3, "padding": 1}},
    {"residual": ["BatchNorm2d", "ReLU"]},
    {"concat": [[{"Conv2d": {"out_channels": 2, "kernel_size": 1}}], ["Tanh"]]},
    {"MaxPool2d": 2},
    "GELU",
    "Flatten",
    {"Dropout": 0.25},
    {"Linear": 4},
]

PLAIN = [
    {"Conv2d": {"out_channels": 3, "kernel_size": 3}},
    "ReLU",
    {"MaxPool2d": 2},
    "Flatten",
    {"Linear": 4},
]

NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": lambda: of_images(MLPConfig(hidden=[8, 8])),
    "mlp, batch norm, dropout": lambda: of_images(
        MLPConfig(hidden=[8, 8], normalization="batch", dropout=0.3, residual=True)
    ),
    "mlp, layer norm, tanh": lambda: of_images(
        MLPConfig(hidden=[8], normalization="layer", activation="tanh")
    ),
    "cnn": lambda: of_images(SequentialConfig(layers=PLAIN)),
    "resnet": lambda: of_images(CNNConfig(preset="resnet", depth=8, width=0.25)),
    "layers": lambda: of_images(SequentialConfig(layers=BLOCK)),
    "rnn": lambda: of_series(cell="rnn"),
    "lstm, two layers": lambda: of_series(cell="lstm", layers=2, dropout=0.2),
    "gru, bidirectional": lambda: of_series(cell="gru", bidirectional=True, pool="mean"),
    "lstm, packed": lambda: of_words(WORDS, cell="lstm", bidirectional=True),
    "gru, packed, max": lambda: of_words(WORDS, cell="gru", pool="max"),
    "rnn, tagger": lambda: of_words(TAGS, cell="rnn", layers=2),
    "lstm, language model": lambda: of_text(cell="lstm", tied=True),
    "gru, language model": lambda: of_text(cell="gru", dropout=0.2),
    "transformer": lambda: of_images(TransformerConfig(width=8, depth=1, heads=2, dropout=0.2)),
    "transformer, padded": of_words_by_attention,
    "transformer, language model": of_text_by_attention,
    "shared weights": lambda: regression(Shared(), 5),
    "attention": lambda: regression(Attentive(), 12),
    "in place": lambda: regression(InPlace(), 5),
}
