"""The training steps of docs/benchmarks.md, on drawn data of the right shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bptrain import nn
from bptrain.bench.subject import Subject
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.models.cnn import CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.stages import StageConfig
from bptrain.optim.adam import AdamConfig
from bptrain.optim.sgd import SGDConfig
from bptrain.problem import Problem
from bptrain.train.precision import Precision

Made = tuple[torch.nn.Module, torch.nn.Module, tuple[Any, ...], Tensor]  # model, loss, batch
OptimizerConfig = AdamConfig | SGDConfig

MOMENTUM = SGDConfig(lr=0.1, momentum=0.9, nesterov=True)
PLAIN = SGDConfig(lr=0.1, momentum=0.0)


@dataclass(frozen=True)
class Workload:
    """A training step by its name, as the tables call it.

    make   draws the model and the batch from torch's generator
    goal   what is aimed at, over torch.nn: the time where oneDNN's float32 product is twice as fast
           as MKL's, the time where both are the same, and the memory
    turns  of a measurement
    """

    name: str
    make: Callable[[], Made]
    optimizer: OptimizerConfig
    goal: str
    turns: int = 15

    def subject(self, precision: Precision) -> Subject:
        """Return what is measured, on the precision's device."""
        torch.manual_seed(0)
        model, loss, inputs, targets = self.make()
        device = precision.device
        moved = tuple(each.to(device) if isinstance(each, Tensor) else each for each in inputs)
        states = self.optimizer.states
        return Subject(
            self.name,
            model.to(device),
            loss.to(device),
            moved,
            (targets.to(device),),
            precision,
            self._update,
            states,
        )

    def _update(self, model: torch.nn.Module) -> Callable[[], object]:
        optimizer = self.optimizer.build(model)
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # every step computes the same numbers
        return optimizer.step


class EachStep(torch.nn.Module):
    """The outputs of a recurrent layer, without its last state."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, input: Tensor) -> Tensor:
        """Return [T, B, H]."""
        output: Tensor = self.layer(input)[0]
        return output


class Head(torch.nn.Module):
    """A linear layer to many classes on features that need a gradient: they are an embedding's."""

    def __init__(self, tokens: int, features: int, classes: int) -> None:
        super().__init__()
        self.features, self.output = nn.Embedding(tokens, features), nn.Linear(features, classes)

    def forward(self, input: Tensor) -> Tensor:
        """Return logits [N, K] of tokens [N]."""
        output: Tensor = self.output(self.features(input))
        return output


def _classifier(config: MLPConfig | CNNConfig, shape: tuple[int, ...], batch: int) -> Made:
    problem = Problem("classification", shape, 10)
    model, loss = config.build(problem, "cpu"), CrossEntropyConfig().build(problem)
    return model, loss, (torch.randn(batch, *shape),), torch.randint(10, (batch,))


def mlp(batch: int = 128, hidden: tuple[int, ...] = (512, 256)) -> Made:
    """Return MNIST's MLP."""
    return _classifier(MLPConfig(hidden=list(hidden)), (1, 28, 28), batch)


def cnn(batch: int = 128) -> Made:
    """Return two 3 x 3 convolutions with max-pools, and a hidden layer."""
    stages = [StageConfig(channels=32), StageConfig(channels=64)]
    config = CNNConfig(stages=stages, normalization="none", head="flatten", hidden=[128])
    return _classifier(config, (1, 28, 28), batch)


def resnet(batch: int = 64) -> Made:
    """Return ResNet-20 on images of CIFAR's size."""
    return _classifier(CNNConfig(preset="resnet", depth=20), (3, 32, 32), batch)


def recurrent(
    kind: type[torch.nn.Module],
    steps: int = 128,
    batch: int = 64,
    sizes: tuple[int, int] = (128, 256),
) -> Made:
    """Return a recurrent layer alone, its outputs compared with drawn numbers."""
    inputs, hidden = sizes
    given, wanted = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)
    return EachStep(kind(inputs, hidden)), nn.MSELoss(), (given,), wanted


def characters(steps: int = 256, batch: int = 32, letters: int = 65) -> Made:
    """Return a language model of characters: two LSTM layers of 512 units."""
    problem = Problem("language_model", (steps,), letters, vocabulary=letters, is_sequence=True)
    model = RNNConfig(cell="lstm", hidden=512, layers=2).build(problem, "cpu")
    tokens, following = torch.randint(letters, (2, batch, steps))
    return model, CrossEntropyConfig().build(problem), (tokens, True), following


def head(tokens: int = 4096, features: int = 512, classes: int = 32_000) -> Made:
    """Return a linear layer and the cross-entropy of many classes."""
    model = Head(tokens, features, classes)
    return model, nn.CrossEntropyLoss(), (torch.arange(tokens),), torch.randint(classes, (tokens,))


WORKLOADS = {
    each.name: each
    for each in (
        Workload("MLP 784-512-256-10, batch 128", mlp, AdamConfig(), "0.65, 0.85, kept 0.75", 25),
        Workload(
            "two 3 x 3 convolutions, batch 128",
            cnn,
            AdamConfig(),
            "0.7, 0.8 of channels_last, kept 0.25",
        ),
        Workload(
            "ResNet-20, 32 x 32, batch 64",
            resnet,
            MOMENTUM,
            "0.97 of channels_last, 0.75, 0.85, kept 0.8",
        ),
        Workload(
            "LSTM 128-256, T 128, batch 64",
            lambda: recurrent(nn.LSTM),
            PLAIN,
            "0.7, 0.9, kept 0.4",
        ),
        Workload(
            "GRU 128-256, T 128, batch 64",
            lambda: recurrent(nn.GRU),
            PLAIN,
            "0.5, 0.75, kept 0.75",
        ),
        Workload(
            "character LSTM 2 x 512, T 256, batch 32",
            characters,
            AdamConfig(),
            "0.85, 0.95, kept 0.4",
            5,
        ),
        Workload(
            "4,096 tokens x 512 to 32,000 classes",
            head,
            PLAIN,
            "0.4, 0.75, peak 0.1",
            5,
        ),
    )
}
