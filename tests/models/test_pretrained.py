"""Networks of torchvision: equal to its own, frozen in blocks, scaled for the weights."""

from itertools import chain
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops import StochasticDepth

from bptrain.errors import UsageError
from bptrain.models.pretrained import PretrainedConfig, blocks_of, last_linear, torchvisions
from bptrain.problem import Problem

PROBLEM = Problem("classification", (3, 64, 64), 3)
BLOCKS = {
    "resnet18": 5,
    "resnet34": 5,
    "resnet50": 5,
    "mobilenet_v2": 19,
    "mobilenet_v3_small": 14,
    "mobilenet_v3_large": 18,
    "vgg11": 9,
    "vgg11_bn": 9,
    "convnext_tiny": 8,
}


def built(problem: Problem = PROBLEM, **options: Any) -> nn.Module:
    return PretrainedConfig(**options).build(problem, "cpu")


def presets() -> list[Any]:
    """Return all presets, of which two are in the default tests."""
    quick = ("resnet18", "mobilenet_v3_small")
    return [
        each if each in quick else pytest.param(each, marks=pytest.mark.slow) for each in BLOCKS
    ]


@pytest.mark.parametrize("preset", presets())
def test_a_network_has_the_outputs_and_gradients_of_torchvisions(preset: str) -> None:
    torch.manual_seed(0)
    model = built(preset=preset).double()
    theirs = models.get_model(preset, num_classes=3).double()
    theirs.load_state_dict(model.network.state_dict())
    for module in chain(model.modules(), theirs.modules()):
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
    images, grad = torch.randn(4, *PROBLEM.input_shape).double(), torch.randn(4, 3).double()
    found, expected = model(images), theirs(images)
    torch.testing.assert_close(found, expected)
    found.backward(grad)
    expected.backward(grad)
    own = dict(model.network.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(own[name].grad, parameter.grad, msg=name)
    for name, buffer in theirs.named_buffers():
        torch.testing.assert_close(model.network.get_buffer(name), buffer, msg=name)


@pytest.mark.parametrize(("preset", "count"), BLOCKS.items())
def test_each_parameter_is_in_one_block_or_the_head(preset: str, count: int) -> None:
    network = torchvisions(preset, "meta")
    head = last_linear(network)
    blocks = blocks_of(network, head)
    assert len(blocks) == count
    modules = [*chain.from_iterable(blocks), network.get_submodule(head)]
    found = [parameter for module in modules for parameter in module.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == set(network.parameters())


@pytest.mark.parametrize(("freeze", "frozen"), [("none", 0), (2, 2), ("all but head", 5)])
def test_frozen_blocks_have_no_gradient_and_keep_their_statistics(freeze: Any, frozen: int) -> None:
    model = built(preset="resnet18", freeze=freeze)  # in training mode, as modules begin
    network = model.network
    blocks = [[network.conv1, network.bn1]]
    blocks += [[getattr(network, f"layer{number}")] for number in (1, 2, 3, 4)]
    before = {name: each.clone() for name, each in network.named_buffers()}
    model(torch.randn(2, *PROBLEM.input_shape)).sum().backward()
    changed = {name for name, each in network.named_buffers() if not each.equal(before[name])}
    for number, block in enumerate(blocks):
        is_frozen = number < frozen
        parameters = [p for module in block for p in module.parameters()]
        assert all((p.grad is None) == is_frozen for p in parameters)
        norms = [m for b in block for m in b.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(norm.training != is_frozen for norm in norms)
    assert any(name.startswith("bn1") for name in changed) == (frozen == 0)
    assert any(name.startswith("layer4") for name in changed) == (frozen < 5)
    assert network.fc.weight.grad is not None


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_scaled_as_those_of_imagenet(channels: int) -> None:
    model = built(Problem("classification", (channels, 64, 64), 3), preset="resnet18")
    mean, std = [100.0, 120.0, 90.0][:channels], [50.0, 60.0, 70.0][:channels]
    pixels = torch.randint(256, (2, channels, 64, 64)).float()
    standardized = (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    read: list[torch.Tensor] = []
    model.network.conv1.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model.expect(mean, std, 255.0)
    model.eval()(standardized)
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    own_mean, own_std = (torch.tensor(each).view(-1, 1, 1) for each in (preset.mean, preset.std))
    expected = (pixels / 255 - own_mean) / own_std
    torch.testing.assert_close(read[0], expected.expand(2, 3, 64, 64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (PROBLEM, {"freeze": 6}, "model.freeze: resnet18 has 5 blocks before its output layer"),
        (Problem("classification", (4, 64, 64), 3), {}, r"samples of the shape \[4, 64, 64\]"),
        (Problem("classification", (3, 28, 28), 3), {}, "images of 28 x 28 are too small"),
        (Problem("classification", (20,), 3), {}, r"samples of the shape \[20\]"),
    ],
)
def test_what_does_not_fit_is_refused(
    problem: Problem, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        PretrainedConfig(**options).build(problem, "meta")
