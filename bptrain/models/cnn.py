"""Convolutional networks: stages given in the config, or a known architecture by its name."""

from dataclasses import replace
from math import prod
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.models.activations import Activation
from bptrain.models.convolution import LINE, PLANE, Layers, Normalization, Style
from bptrain.models.initialization import Initialization, initialize
from bptrain.models.resnet import PLANS, Stem, cifar_plan, resnet, zero_last_norms
from bptrain.models.stages import STAGES, Head, StageConfig, features, head, size_text
from bptrain.problem import Problem

Preset = Literal["lenet", "vgg11", "vgg16", "resnet", "resnet18", "resnet34", "resnet50"]

RESNETS = ("resnet", *PLANS)
OWN_STAGES = [StageConfig(channels=32, blocks=2), StageConfig(channels=64, blocks=2)]
LENETS_HIDDEN = [120, 84]
BELONGS_TO: dict[str, tuple[str | None, ...]] = {  # options that only some presets have
    "stages": (None,),
    "hidden": (None, *STAGES),
    "head": (None, *STAGES),
    "depth": ("resnet",),
    "stem": tuple(PLANS),
    "zero_init_residual": RESNETS,
}


class CNN(torch.nn.Sequential):
    """Layers by name, on images [N, C, H, W]."""


class SequenceCNN(CNN):
    """Layers by name, on sequences [N, T, F]: a convolution over time, the features as channels."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the outputs [N, K]."""
        output: Tensor = super().forward(input.transpose(1, 2))  # type: ignore[no-untyped-call]
        return output


class CNNConfig(StrictConfig):
    """A convolutional network."""

    kind: Literal["cnn"] = "cnn"
    preset: Preset | None = Field(
        default=None,
        description="known architecture to use instead of stages; resnet is the CIFAR network, "
        "whose size depth sets",
    )
    stages: Annotated[list[StageConfig], Field(min_length=1, max_length=32)] | None = Field(
        default=None,
        description="stages of the network in order, from the input on, each with its channels "
        "and blocks. By default (null) two stages of two blocks, with 32 and 64 channels",
    )
    width: float = Field(
        default=1.0,
        ge=0.01,
        le=64,
        description="multiplier of the channels of every layer; below 1 for a smaller model",
    )
    depth: int | None = Field(
        default=None,
        ge=8,
        le=1202,
        description="preset resnet only: number of layers, 6n + 2; null is 20",
    )
    stem: Stem | None = Field(
        default=None,
        description="presets resnet18 to resnet50: imagenet first reduces height and "
        "width to a quarter; cifar keeps the size, for small images. null is imagenet",
    )
    normalization: Normalization | None = Field(
        default=None,
        description="normalization after each convolution; null is batch, except none in lenet. "
        "group does not depend on the batch size",
    )
    activation: Activation | None = Field(
        default=None,
        description="activation function after each convolution; null is relu, except tanh in "
        "lenet",
    )
    head: Head | None = Field(
        default=None,
        description="how features become a vector: pool is global average pooling, flatten uses "
        "every position. null is pool, except flatten in lenet",
    )
    hidden: list[Annotated[int, Field(ge=1, le=1_048_576)]] | None = Field(
        default=None,
        max_length=32,
        description="units of the linear layers before the output layer; null is none, except "
        "[120, 84] in lenet",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that dropout zeroes an input of the output layer in training; 0 "
        "is no dropout",
    )
    zero_init_residual: bool = Field(
        default=False,
        description="resnets only: initialize the last normalization weight of each residual "
        "block with 0, so that each block starts as its shortcut",
    )
    init: Initialization = Field(
        default="default",
        description="initialization scheme of the linear and convolution weights; default is "
        "torch.nn's own. kaiming suits relu, xavier tanh and sigmoid, lecun_normal selu",
    )

    @model_validator(mode="after")
    def _options_fit_the_preset(self) -> "CNNConfig":
        for name, presets in BELONGS_TO.items():
            if getattr(self, name) not in (None, False) and self.preset not in presets:
                allowed = " or ".join("null" if each is None else each for each in presets)
                raise ValueError(
                    f"{name} needs preset {allowed}; preset is {self.preset or 'null'}"
                )
        if self.depth is not None and self.depth % 6 != 2:
            below = (self.depth - 2) // 6 * 6 + 2
            raise ValueError(f"depth must be 6n + 2: {below} or {below + 6}, not {self.depth}")
        if self.zero_init_residual and self.normalization == "none":
            raise ValueError("zero_init_residual needs a normalization, whose weight it sets to 0")
        return self

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for samples that are neither images [C, H, W] nor sequences [T, F] of one
        length, and for images too small for the stages.
        """
        _refuse_other_problems(problem)
        is_lenet = self.preset == "lenet"
        style = Style(
            LINE if problem.is_sequence else PLANE,
            self.normalization or ("none" if is_lenet else "batch"),
            self.activation or ("tanh" if is_lenet else "relu"),
            device,
        )
        make = self._residual if self.preset in RESNETS else self._plain
        model = SequenceCNN() if problem.is_sequence else CNN()
        for name, layer in make(style, problem).items():
            model.add_module(name, layer)
        initialize(model, self.init, style.activation)
        if self.zero_init_residual:
            zero_last_norms(model)
        return model

    def _plain(self, style: Style, problem: Problem) -> Layers:
        """Return the stages and the head."""
        channels, size = _channels_and_size(problem)
        stages = [
            each.model_copy(update={"channels": self._scaled(each.channels)})
            for each in self.stages or STAGES.get(self.preset or "", OWN_STAGES)
        ]
        try:
            layers, channels, left = features(stages, style, channels, size)
        except ConfigKeyError as error:
            if self.preset is None:
                raise
            raise ConfigKeyError(
                ("model", "preset"),
                f"{self.preset} halves its input too often for inputs of {size_text(size)}",
                error.why,
                "model.preset=resnet, which takes any size, or model.stages",
            ) from error
        is_lenet = self.preset == "lenet"
        kind = self.head or ("flatten" if is_lenet else "pool")
        width = channels * prod(left) if kind == "flatten" else channels
        hidden = self.hidden if self.hidden is not None else LENETS_HIDDEN if is_lenet else []
        return layers | head(kind, style, width, hidden, self.dropout, problem.outputs)

    def _residual(self, style: Style, problem: Problem) -> Layers:
        """Return the layers of a residual network."""
        plan = cifar_plan(self.depth or 20) if self.preset == "resnet" else PLANS[self.preset or ""]
        plan = replace(plan, channels=tuple(map(self._scaled, plan.channels)))
        stem = "cifar" if self.preset == "resnet" else self.stem or "imagenet"
        channels, _ = _channels_and_size(problem)
        return resnet(plan, style, stem, channels, self.dropout, problem.outputs)

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))


def _channels_and_size(problem: Problem) -> tuple[int, tuple[int, ...]]:
    """Return the channels of a sample and the lengths of its other axes."""
    if problem.is_sequence:
        steps, features = problem.input_shape
        return features, (steps,)
    channels, *size = problem.input_shape
    return channels, tuple(size)


def _refuse_other_problems(problem: Problem) -> None:
    if problem.vocabulary or problem.output_kind.per != "sample":
        raise UsageError(
            f"a cnn cannot solve this {problem.task} problem",
            "it reads numbers, not tokens, and has one output vector for each sample",
            "model.kind=rnn",
        )
    if problem.varies:
        raise UsageError(
            "a cnn cannot read sequences that differ in length",
            "their padding would be convolved too, and change the outputs",
            "model.kind=rnn, or data of one length",
        )
    if len(problem.input_shape) != (2 if problem.is_sequence else 3):
        shape = ", ".join(map(str, problem.input_shape))
        raise UsageError(
            f"a cnn cannot read samples of the shape [{shape}]",
            "it convolves images [channels, height, width] and sequences [time, features]",
            "model.kind=mlp",
        )
