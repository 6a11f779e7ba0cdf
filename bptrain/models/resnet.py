"""Residual networks: He et al. 2016, "Deep residual learning for image recognition".

Modules and parameters have torchvision's names and shapes, so that its weights load. As there, a
bottleneck's stride is on its 3 x 3 convolution, and the CIFAR networks, which torchvision lacks,
change their shapes by projections (the paper's option B) instead of padded channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bptrain import nn
from bptrain.models.convolution import Layers, Style
from bptrain.models.stages import in_order

Stem = Literal["cifar", "imagenet"]

EXPANSION = 4  # ratio of a bottleneck's output channels to its inner channels


@dataclass(frozen=True)
class Plan:
    """Blocks of each layer, each layer's inner channels, and whether the blocks are bottlenecks."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    bottleneck: bool = False


WIDE = (64, 128, 256, 512)
PLANS = {  # table 1 of the paper
    "resnet18": Plan((2, 2, 2, 2), WIDE),
    "resnet34": Plan((3, 4, 6, 3), WIDE),
    "resnet50": Plan((3, 4, 6, 3), WIDE, bottleneck=True),
}


def cifar_plan(depth: int) -> Plan:
    """Return the network of 6n + 2 layers for small images: section 4.2 of the paper."""
    return Plan(((depth - 2) // 6,) * 3, (16, 32, 64))


class Block(torch.nn.Module):
    """relu(branch(x) + shortcut(x)), the branch's layers under their own names."""

    def __init__(
        self, branch: Layers, shortcut: torch.nn.Module | None, after: torch.nn.Module
    ) -> None:
        super().__init__()
        self.branch = tuple(branch)
        for name, layer in branch.items():
            self.add_module(name, layer)
        self.downsample = shortcut
        self.add = nn.Add()
        self.relu = after

    def forward(self, input: Tensor) -> Tensor:
        """Return the output of input [N, C, ...]."""
        x = input
        for name in self.branch:
            x = self.get_submodule(name)(x)
        skipped = input if self.downsample is None else self.downsample(input)
        output: Tensor = self.relu(self.add(x, skipped))
        return output


def resnet(
    plan: Plan, style: Style, stem: Stem, inputs: int, dropout: float, outputs: int
) -> Layers:
    """Return conv1, bn1, relu, maxpool, layer1, ..., avgpool, flatten, dropout, fc."""
    channels = plan.channels[0]
    layers = _stem(stem, style, inputs, channels)
    for number, (blocks, inner) in enumerate(zip(plan.blocks, plan.channels, strict=True), start=1):
        layer = torch.nn.Sequential()
        for block in range(blocks):
            stride = 2 if number > 1 and block == 0 else 1
            layer.append(_block(plan, style, channels, inner, stride))
            channels = inner * EXPANSION if plan.bottleneck else inner
        layers[f"layer{number}"] = layer
    layers["avgpool"] = style.dimensions.adaptive_avg_pool(1)
    layers["flatten"] = nn.Flatten()
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["fc"] = nn.Linear(channels, outputs, device=style.device)
    return layers


def zero_last_norms(model: torch.nn.Module) -> None:
    """Set the last normalization weight of each block to 0, so that it starts as its shortcut.

    Source: Goyal et al. 2017.
    """
    for block in model.modules():
        if isinstance(block, Block):
            torch.nn.init.zeros_(block.get_submodule(block.branch[-1]).weight)  # type: ignore[arg-type]


def _stem(stem: Stem, style: Style, inputs: int, channels: int) -> Layers:
    small = stem == "cifar"
    layers: Layers = {"conv1": style.conv(inputs, channels, *((3, 1) if small else (7, 2)))}
    layers |= style.norm("bn1", channels)
    layers["relu"] = style.activate()
    if not small:
        layers["maxpool"] = style.dimensions.max_pool(3, 2, 1)
    return layers


def _block(plan: Plan, style: Style, channels: int, inner: int, stride: int) -> Block:
    outputs = inner * EXPANSION if plan.bottleneck else inner
    # (channels, kernel, stride) of each convolution
    convs = [(inner, 3, stride), (inner, 3, 1)]
    if plan.bottleneck:
        convs = [(inner, 1, 1), (inner, 3, stride), (outputs, 1, 1)]
    branch: Layers = {}
    width = channels
    for number, (made, kernel, step) in enumerate(convs, start=1):
        branch[f"conv{number}"] = style.conv(width, made, kernel, step)
        branch |= style.norm(f"bn{number}", made)
        if number < len(convs):
            branch[f"relu{number}"] = style.activate()
        width = made
    shortcut = None
    if stride > 1 or channels != outputs:
        projection = style.conv(channels, outputs, 1, stride)
        shortcut = in_order({"0": projection, **style.norm("1", outputs)})
    return Block(branch, shortcut, style.activate())
