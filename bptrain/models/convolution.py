"""What all convolution layers of a model share: their dimensions, normalisation and activation."""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Literal

import torch

from bptrain import nn
from bptrain.models.activations import ACTIVATIONS, Activation

Normalization = Literal["batch", "group", "none"]
Layers = dict[str, torch.nn.Module]  # by name, in the order of the forward pass

GROUPS = 32  # of group normalisation, or as many as divide both this and the channels: Wu, He 2018


@dataclass(frozen=True)
class Dimensions:
    """The layers for inputs of so many axes besides batch and channels."""

    conv: Callable[..., torch.nn.Module]
    batch_norm: Callable[..., torch.nn.Module]
    max_pool: Callable[..., torch.nn.Module]
    avg_pool: Callable[..., torch.nn.Module]
    adaptive_avg_pool: Callable[..., torch.nn.Module]


LINE = Dimensions(nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)
PLANE = Dimensions(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Style:
    """How a model's convolutions look, whatever their sizes."""

    dimensions: Dimensions
    normalization: Normalization
    activation: Activation
    device: torch.device | str

    def conv(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None
    ) -> torch.nn.Module:
        """Return a convolution, by default padded so that a stride of 1 keeps an input's size.

        It has a bias where no normalisation with one of its own comes behind it.
        """
        return self.dimensions.conv(
            inputs,
            outputs,
            kernel,
            stride,
            kernel // 2 if padding is None else padding,
            bias=self.normalization == "none",
            device=self.device,
        )

    def norm(self, name: str, channels: int) -> Layers:
        """Return the normalisation under this name; nothing if there is none."""
        match self.normalization:
            case "batch":
                return {name: self.dimensions.batch_norm(channels, device=self.device)}
            case "group":
                groups = gcd(GROUPS, channels)
                return {name: nn.GroupNorm(groups, channels, device=self.device)}
            case "none":
                return {}

    def activate(self) -> torch.nn.Module:
        """Return the activation."""
        return ACTIVATIONS[self.activation]()
