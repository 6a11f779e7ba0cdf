"""Plain convolutional networks: stages of blocks, one stage for each image size."""

from typing import Literal

import torch
from pydantic import Field

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.errors import ConfigKeyError
from bptrain.models.convolution import Layers, Style

MOST_CHANNELS = 65_536

Head = Literal["pool", "flatten"]


class StageConfig(StrictConfig):
    """Blocks of convolution, normalization and activation, followed by pooling."""

    channels: int = Field(ge=1, le=MOST_CHANNELS, description="output channels of each block")
    blocks: int = Field(
        default=1,
        ge=1,
        le=64,
        description="number of blocks: convolution, normalization, activation",
    )
    kernel: int = Field(default=3, ge=1, le=63, description="kernel size along each axis")
    stride: int = Field(
        default=1,
        ge=1,
        le=16,
        description="stride of the first block's convolution; the others have stride 1",
    )
    padding: int | None = Field(
        default=None,
        ge=0,
        le=31,
        description="zero padding at each border. By default (null) kernel // 2, which keeps the "
        "size at stride 1 with an odd kernel",
    )
    pool: Literal["max", "avg", "none"] = Field(
        default="max",
        description="pooling after the blocks, which halves each axis; none leaves the size as it "
        "is",
    )

    @property
    def border(self) -> int:
        """Zero padding at each border."""
        return self.kernel // 2 if self.padding is None else self.padding


# LeNet: LeCun et al. 1998, figure 2; VGG: Simonyan and Zisserman 2015, table 1, columns A and D
STAGES: dict[str, list[StageConfig]] = {
    "lenet": [
        StageConfig(channels=6, kernel=5, pool="avg"),
        StageConfig(channels=16, kernel=5, padding=0, pool="avg"),
    ],
    "vgg11": [
        StageConfig(channels=channels, blocks=blocks)
        for channels, blocks in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))
    ],
    "vgg16": [
        StageConfig(channels=channels, blocks=blocks)
        for channels, blocks in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    ],
}


def features(
    stages: list[StageConfig], style: Style, channels: int, size: tuple[int, ...]
) -> tuple[Layers, int, tuple[int, ...]]:
    """Return stage1, stage2, ..., and the channels and size of their output.

    Raises ConfigKeyError for a stage whose output would be empty.
    """
    layers: Layers = {}
    for number, stage in enumerate(stages, start=1):
        before = size
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            size = tuple((s + 2 * stage.border - stage.kernel) // stride + 1 for s in size)
        if stage.pool != "none":
            size = tuple(s // 2 for s in size)
        if min(size) < 1:
            raise ConfigKeyError(
                ("model", "stages", number - 1),
                f"the output would be empty for an input of {size_text(before)}",
                f"its {stage.blocks} convolutions and its pooling reduce it to less than 1",
                "pool: none, fewer stages, a smaller kernel, or larger images",
            )
        layers[f"stage{number}"] = _stage(stage, style, channels)
        channels = stage.channels
    return layers, channels, size


def _stage(stage: StageConfig, style: Style, channels: int) -> torch.nn.Module:
    """Return block1, block2, ..., pool."""
    modules = torch.nn.Sequential()
    for block in range(1, stage.blocks + 1):
        stride = stage.stride if block == 1 else 1
        conv = style.conv(channels, stage.channels, stage.kernel, stride, stage.border)
        layers = {"conv": conv, **style.norm("norm", stage.channels)}
        layers[style.activation] = style.activate()
        modules.add_module(f"block{block}", in_order(layers))
        channels = stage.channels
    if stage.pool != "none":
        dimensions = style.dimensions
        pool = dimensions.max_pool if stage.pool == "max" else dimensions.avg_pool
        modules.add_module("pool", pool(2))
    return modules


def head(
    kind: Head, style: Style, width: int, hidden: list[int], dropout: float, outputs: int
) -> Layers:
    """Return the layers after the last stage: pool, flatten, linear1, ..., dropout, output.

    width  number of features they receive
    """
    layers: Layers = {}
    if kind == "pool":
        layers["pool"] = style.dimensions.adaptive_avg_pool(1)
    layers["flatten"] = nn.Flatten()
    for number, units in enumerate(hidden, start=1):
        layers[f"linear{number}"] = nn.Linear(width, units, device=style.device)
        layers[f"{style.activation}{number}"] = style.activate()
        width = units
    if dropout:
        layers["dropout"] = nn.Dropout(dropout)
    layers["output"] = nn.Linear(width, outputs, device=style.device)
    return layers


def in_order(layers: Layers) -> torch.nn.Sequential:
    """Return the layers as one module, each under its name."""
    modules = torch.nn.Sequential()
    for name, layer in layers.items():
        modules.add_module(name, layer)
    return modules


def size_text(size: tuple[int, ...]) -> str:
    """Return a size as text such as 8 x 8."""
    return " x ".join(map(str, size))
