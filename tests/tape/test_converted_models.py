"""Known models of torch's layers: converted, they have the gradients that they had, and train."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models import (
    convnext,
    densenet,
    efficientnet,
    mobilenetv3,
    regnet,
    shufflenetv2,
)

from bptrain import conversion, convert, to_torch
from bptrain.nn.conversion import Conversion
from bptrain.tape import record
from bptrain.verify import check

IMAGES, CLASSES = torch.randn(6, 3, 32, 32), torch.randint(4, (6,))
SERIES = torch.randn(4, 5, 8)
PADDING = torch.arange(5) >= torch.tensor([[5], [3], [4], [2]])
CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)


def resnet18() -> torch.nn.Module:
    return torchvision.models.resnet18(num_classes=4)


def encoder_layer(**options: Any) -> torch.nn.TransformerEncoderLayer:
    # without dropout, which draws in the order of memory, another one behind ours than torch's
    return torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, **options)


def gradients(model: torch.nn.Module, *inputs: Tensor, **options: Tensor) -> list[Tensor]:
    torch.manual_seed(0)
    model.zero_grad()
    output = model(*inputs, **options)
    output.backward(torch.randn_like(output))
    return [parameter.grad for parameter in model.parameters()]


def losses_of(model: torch.nn.Module, loss: torch.nn.Module, *batch: Tensor) -> tuple[list, list]:
    """Return the losses of three steps of the model, then converted on the tape, and why not."""
    reference = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.01) for each in (reference, model)]
    step = record(convert(model), convert(copy.deepcopy(loss)))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for _ in range(3):
        torch.manual_seed(0)
        theirs = loss(reference(batch[0]), batch[1])
        theirs.backward()
        torch.manual_seed(0)
        ours = step(*batch)
        for losses, each in zip(found, (theirs, ours), strict=True):
            losses.append(each.detach())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert step.reasons == []
    return found


def test_resnet18_has_its_gradients_and_goes_back() -> None:
    model = resnet18()
    reference = copy.deepcopy(model)
    found = conversion(convert(model))
    assert len(found.ours) == 52
    assert found == Conversion(found.ours, code=found.code)
    assert set(found.code.values()) == {"ResNet", "BasicBlock"}
    expected = gradients(reference, IMAGES)
    torch.testing.assert_close(gradients(model, IMAGES), expected, rtol=1e-3, atol=1e-4)
    assert not conversion(to_torch(model)).ours
    assert type(model.relu) is torch.nn.ReLU
    assert model.relu.inplace


def test_resnet18_trains_on_the_tape_as_by_torch() -> None:
    theirs, ours = losses_of(resnet18(), torch.nn.CrossEntropyLoss(), IMAGES, CLASSES)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert ours[-1] < ours[0]


def test_a_block_of_resnet18_is_proven() -> None:
    kind = torchvision.models.resnet.BasicBlock  # with a residual, and layers in place
    block = convert(kind(4, 4))
    report = check(block, torch.randn(3, 4, 4, 4))
    assert report.ok, report
    assert any("torch autograd" in str(row) for row in report.rows)


BLOCKS: dict[str, Callable[[], torch.nn.Module]] = {
    "MobileNetV3": lambda: mobilenetv3.InvertedResidual(
        mobilenetv3.InvertedResidualConfig(8, 3, 16, 8, True, "HS", 1, 1, 1), torch.nn.BatchNorm2d
    ),
    "EfficientNet": lambda: efficientnet.MBConv(
        efficientnet.MBConvConfig(2, 3, 1, 8, 8, 1), 0.5, torch.nn.BatchNorm2d
    ),
    "ConvNeXt": lambda: convnext.CNBlock(8, 1, 0.5),
    "DenseNet": lambda: densenet._DenseLayer(8, 4, 2, 0.5),
    "ShuffleNet": lambda: shufflenetv2.InvertedResidual(8, 8, 1),
    "RegNet": lambda: regnet.ResBottleneckBlock(
        8, 8, 1, torch.nn.BatchNorm2d, torch.nn.ReLU, 2, 1.0, 0.5
    ),
}


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
def test_a_block_of_a_known_network_trains_on_the_tape(
    make: Callable[[], torch.nn.Module],
) -> None:
    x = torch.randn(4, 8, 6, 6)  # eight channels: torchvision makes no fewer of them
    y = torch.randn_like(make()(x))
    theirs, ours = losses_of(make(), torch.nn.MSELoss(), x, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


OPTIONS: dict[str, dict[str, Any]] = {
    "relu": {},
    "gelu, normalization first": {"activation": torch.nn.functional.gelu, "norm_first": True},
    "a module, no bias": {"activation": torch.nn.Tanh(), "bias": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_encoder_layer_has_its_gradients_with_masks(options: dict[str, Any]) -> None:
    model = encoder_layer(**options)
    reference = copy.deepcopy(model)
    found = conversion(convert(model))
    assert found.ours["self_attn"] == "MultiheadAttention"
    assert found == Conversion(found.ours, code={"": "TransformerEncoderLayer"})
    masks = {"src_key_padding_mask": PADDING, "src_mask": CAUSAL}
    for given in ({}, masks):
        expected = gradients(reference, SERIES, **given)
        torch.testing.assert_close(
            gradients(model, SERIES, **given), expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_encoder_layer_trains_on_the_tape_as_by_torch(options: dict[str, Any]) -> None:
    theirs, ours = losses_of(
        encoder_layer(**options), torch.nn.MSELoss(), SERIES, torch.randn(4, 5, 8)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_an_encoder_layer_is_proven_with_its_dropouts() -> None:
    layer = torch.nn.TransformerEncoderLayer(4, 2, 4, 0.25, batch_first=True)
    report = check(convert(layer), torch.randn(2, 3, 4))
    assert report.ok, report


def test_an_encoder_layer_predicts_by_torchs_fast_path_and_without() -> None:
    model = encoder_layer().eval()
    expected = model(SERIES)  # layer by layer: a gradient is recorded
    convert(model)
    called = []
    handle = model.linear1.register_forward_hook(lambda *_: called.append("layer by layer"))
    torch.testing.assert_close(model(SERIES), expected)
    assert called
    handle.remove()  # with a hook torch itself leaves its fast path
    with torch.no_grad():
        torch.testing.assert_close(model(SERIES), expected, rtol=1e-4, atol=1e-5)


def test_a_whole_transformer_has_its_gradients() -> None:
    model = torch.nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True)
    reference = copy.deepcopy(model)
    given = {"tgt_mask": CAUSAL, "src_key_padding_mask": PADDING}
    expected = gradients(reference, SERIES, SERIES + 1, **given)
    found = gradients(convert(model), SERIES, SERIES + 1, **given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not conversion(model).left
