"""Style of all convolution layers of a model: dimensions, normalization and activation."""

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Literal

import torch

from bptrain import nn
from bptrain.models.activations import ACTIVATIONS, Activation

Normalization = Literal["batch", "group", "none"]
Layers = dict[str, torch.nn.Module]  # by name, in the order of the forward pass

GROUPS = 32  # of group normalization, or the gcd of this and the channels: Wu and He 2018


@dataclass(frozen=True)
class Dimensions:
    """The layers for inputs with one or two axes besides batch and channels."""

    conv: Callable[..., torch.nn.Module]
    batch_norm: Callable[..., torch.nn.Module]
    max_pool: Callable[..., torch.nn.Module]
    avg_pool: Callable[..., torch.nn.Module]
    adaptive_avg_pool: Callable[..., torch.nn.Module]


LINE = Dimensions(nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)
PLANE = Dimensions(nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Style:
    """What all convolutions of a model have in common, whatever their sizes."""

    dimensions: Dimensions
    normalization: Normalization
    activation: Activation
    device: torch.device | str

    def conv(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None
    ) -> torch.nn.Module:
        """Return a convolution, by default padded so that stride 1 keeps the input's size.

        It has a bias only where no normalization, which has its own, comes after it.
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
        """Return the normalization under this name; {} if there is none."""
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
