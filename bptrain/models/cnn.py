"""Convolution networks: stages of one's own, or a known architecture by its name."""

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
from bptrain.models.stages import STAGES, Head, StageConfig, features, head, in_words
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
    """A convolution network."""

    kind: Literal["cnn"] = "cnn"
    preset: Preset | None = Field(
        default=None, description="a known architecture in place of stages"
    )
    stages: Annotated[list[StageConfig], Field(min_length=1, max_length=32)] | None = Field(
        default=None, description="blocks of each size, from the image on; null: 2 x 32 and 2 x 64"
    )
    width: float = Field(
        default=1.0, ge=0.01, le=64, description="factor on the channels of every layer"
    )
    depth: int | None = Field(
        default=None, ge=8, le=1202, description="layers of preset resnet, 6n + 2; null is 20"
    )
    stem: Stem | None = Field(
        default=None, description="of resnet18 to 50: cifar does not shrink; null is imagenet"
    )
    normalization: Normalization | None = Field(
        default=None, description="behind each convolution; null is batch, in lenet none"
    )
    activation: Activation | None = Field(default=None, description="null is relu, in lenet tanh")
    head: Head | None = Field(
        default=None,
        description="the mean over all places, or all of them; null is pool, in lenet flatten",
    )
    hidden: list[Annotated[int, Field(ge=1, le=1_048_576)]] | None = Field(
        default=None,
        max_length=32,
        description="units of linear layers in the head; null is none, in lenet 120, 84",
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the output layer's inputs silenced"
    )
    zero_init_residual: bool = Field(
        default=False, description="start each residual block as its shortcut"
    )
    init: Initialization = Field(
        default="default", description="how the starting weights are drawn"
    )

    @model_validator(mode="after")
    def _options_fit_the_preset(self) -> "CNNConfig":
        for name, presets in BELONGS_TO.items():
            if getattr(self, name) not in (None, False) and self.preset not in presets:
                named = ", ".join("no preset" if each is None else each for each in presets)
                raise ValueError(f"{name} goes with {named}; preset is {self.preset or 'null'}")
        if self.depth is not None and self.depth % 6 != 2:
            below = (self.depth - 2) // 6 * 6 + 2
            raise ValueError(f"depth is 6n + 2: {below} or {below + 6}, not {self.depth}")
        if self.zero_init_residual and self.normalization == "none":
            raise ValueError("zero_init_residual needs a normalization: it starts that at 0")
        return self

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem; torch's generator draws the weights.

        Raises UsageError for what is neither images [C, H, W] nor sequences [T, F] of one length,
        and for images too small for the stages.
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
                f"{self.preset} halves too often for inputs of {in_words(size)}",
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
            "it reads numbers, not tokens, and answers once for each sample",
            "model.kind=rnn",
        )
    if problem.varies:
        raise UsageError(
            "a cnn cannot read sequences that differ in length",
            "their padding would be convolved with them, and change what it answers",
            "model.kind=rnn, or data of one length",
        )
    if len(problem.input_shape) != (2 if problem.is_sequence else 3):
        shape = ", ".join(map(str, problem.input_shape))
        raise UsageError(
            f"a cnn cannot read samples of the shape [{shape}]",
            "it convolves images [channels, height, width] and sequences [time, features]",
            "model.kind=mlp",
        )
