"""Networks of torchvision, for weights that were trained on ImageNet: fine-tuned, or frozen below.

The architecture is torchvision's own code, its layers turned into ours by `bptrain.convert`. The
weights are loaded where a run begins (`experiment/starting_weights.py`): a run that is resumed or
evaluated has them in its checkpoint.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field, ValidationInfo
from torch import Tensor

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.config.paths import located_for_config
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.nn.convert import convert
from bptrain.problem import Problem

Preset = Literal[
    "resnet18", "resnet34", "resnet50", "mobilenet_v2", "mobilenet_v3_small",
    "mobilenet_v3_large", "vgg11", "vgg11_bn", "convnext_tiny",
]  # fmt: skip
Block = list[torch.nn.Module]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of the inputs that the weights were trained on, 0 to 1
IMAGENET_STD = (0.229, 0.224, 0.225)
CHANNELS = len(IMAGENET_MEAN)
SMALLEST = 32  # pixels: below, the strides leave nothing
ALL_BUT_HEAD = "all but head"
IMAGENET, NO_WEIGHTS = "imagenet", "none"  # in place of a file


def _weights(given: str, info: ValidationInfo) -> str:
    return given if given in (IMAGENET, NO_WEIGHTS) else located_for_config(given, info)


Weights = Annotated[str, Field(min_length=1), AfterValidator(_weights)]


class FineTuned(torch.nn.Module):
    """A network of torchvision with an output layer of its own, behind a scaling of its inputs.

    head    name of the output layer within `network`; all else is pretrained
    frozen  how many of the first blocks are not trained: they have no gradient, and are always in
            eval mode, so that their normalization keeps the statistics of ImageNet
    """

    def __init__(self, network: torch.nn.Module, head: str, frozen: int) -> None:
        super().__init__()
        device = next(network.parameters()).device
        self.register_buffer("scale", torch.ones(CHANNELS, 1, 1, device=device))
        self.register_buffer("shift", torch.zeros(CHANNELS, 1, 1, device=device))
        self.multiply, self.add = nn.Multiply(), nn.Add()
        self.network, self.head, self.frozen = network, head, frozen
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train()

    def forward(self, input: Tensor) -> Tensor:
        """Return [N, K] of images [N, C, H, W]; one channel is read as three equal ones."""
        output: Tensor = self.network(self.add(self.multiply(input, self.scale), self.shift))
        return output

    def train(self, mode: bool = True) -> "FineTuned":
        """Set the mode of what is trained; frozen blocks stay in eval mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def parameter_blocks(self) -> list[list[torch.nn.Parameter]]:
        """Return the parameters of each block from the input on, those of the head last."""
        blocks = [*blocks_of(self.network, self.head), [self.network.get_submodule(self.head)]]
        return [[p for module in block for p in module.parameters()] for block in blocks]

    def expect(self, mean: Sequence[float], std: Sequence[float], white: float) -> None:
        """Undo the data's standardization by `mean` and `std`, and scale as for ImageNet.

        white  the brightest pixel, in the unit of mean and std
        """
        data_mean, data_std = (torch.tensor(each).view(-1, 1, 1) / white for each in (mean, std))
        own_mean, own_std = (
            torch.tensor(each).view(-1, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.scale.copy_(data_std / own_std)  # type: ignore[operator]
        self.shift.copy_((data_mean - own_mean) / own_std)  # type: ignore[operator]

    def _frozen_modules(self) -> Block:
        blocks = blocks_of(self.network, self.head)[: self.frozen]
        return [module for block in blocks for module in block]


class PretrainedConfig(StrictConfig):
    """A network of torchvision, trained on ImageNet, for other images."""

    kind: Literal["pretrained"] = "pretrained"
    preset: Preset = Field(
        default="resnet18", description="torchvision's name of the network; resnet18 is small"
    )
    weights: Weights = Field(
        default="imagenet",
        description="what the network begins with. imagenet: torchvision's weights, downloaded "
        "once. none: random weights. Else a file of its weights, .safetensors or a state_dict of "
        "torch.save, such as `bptrain export` writes, whose output layer is left out where it has "
        "other classes. A path is expanded and looked up as those of data are",
    )
    freeze: Literal["all but head", "none"] | Annotated[int, Field(ge=1, le=1000)] = Field(
        default="none",
        description="what is not trained: the first blocks, by their number, or all but the output "
        "layer (all but head). Less memory and time, and less overfitting with few images; frozen "
        "batch normalization keeps its statistics. none trains all",
    )

    def build(self, problem: Problem, device: torch.device | str) -> torch.nn.Module:
        """Return the model for a problem, its weights still random.

        Raises UsageError for what are no images of one or three channels, ConfigKeyError for more
        frozen blocks than there are.
        """
        _refuse_other_problems(problem)
        network = torchvisions(self.preset, device)
        head = last_linear(network)
        inputs = network.get_submodule(head).in_features
        owner, _, name = head.rpartition(".")
        own_head = nn.Linear(int(inputs), problem.outputs, device=device)  # type: ignore[arg-type]
        setattr(network.get_submodule(owner), name, own_head)
        return FineTuned(network, head, self._frozen(len(blocks_of(network, head))))

    def _frozen(self, blocks: int) -> int:
        """Return how many blocks are frozen."""
        if isinstance(self.freeze, str):
            return blocks if self.freeze == ALL_BUT_HEAD else 0
        if self.freeze > blocks:
            raise ConfigKeyError(
                ("model", "freeze"),
                f"{self.preset} has {blocks} blocks before its output layer",
                hint=f"{blocks} at most, or {ALL_BUT_HEAD}",
            )
        return self.freeze


def torchvisions(preset: str, device: torch.device | str) -> torch.nn.Module:
    """Return torchvision's network, of our layers."""
    # torchvision takes two seconds to import
    from torchvision import models

    with torch.device(device):
        network: torch.nn.Module = models.get_model(preset, weights=None)
    return convert(network)


def last_linear(network: torch.nn.Module) -> str:
    """Return the name of the output layer."""
    names = [name for name, each in network.named_modules() if isinstance(each, nn.Linear)]
    return str(names[-1])


def blocks_of(network: torch.nn.Module, head: str) -> list[Block]:
    """Return the parts of a network before its head, from the input on, as lists of modules.

    They are its stages: the children, and of `features` and of what holds the head theirs. A
    normalization belongs to the block before it.
    """
    output = network.get_submodule(head)
    owner = head.rpartition(".")[0]
    blocks: list[Block] = []
    for name, child in network.named_children():
        parts = list(child.children()) if name in ("features", owner) else [child]
        parts = [each for each in parts if each is not output and _has_weights(each)]
        if name == owner and not all(map(_is_norm, parts)):
            blocks.append(parts)  # the linear layers before the head are one block
            continue
        for part in parts:
            if blocks and _is_norm(part):
                blocks[-1].append(part)
            else:
                blocks.append([part])
    return blocks


def _is_norm(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.BatchNorm2d | torch.nn.LayerNorm)


def _has_weights(module: torch.nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _refuse_other_problems(problem: Problem) -> None:
    shape: Any = problem.input_shape
    is_image = len(shape) == 3 and not problem.is_sequence and not problem.vocabulary
    if not is_image or shape[0] not in (1, CHANNELS) or problem.output_kind.per != "sample":
        raise UsageError(
            f"a pretrained network cannot read samples of the shape [{', '.join(map(str, shape))}]",
            "it reads images of one or three channels, and has one output for each",
            "model.kind=cnn",
        )
    if min(shape[1:]) < SMALLEST:
        raise UsageError(
            f"images of {shape[1]} x {shape[2]} are too small for a pretrained network",
            f"it reduces them by {SMALLEST}",
            f"data.size of {SMALLEST} or more, 224 as for ImageNet, or model.kind=cnn",
        )
