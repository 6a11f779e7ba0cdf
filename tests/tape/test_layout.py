"""Images lie with their channels last where that is faster, and nobody sees it but the clock."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from networks import NETWORKS, of_images
from test_text import run as run_text
from torch import Tensor

from bptrain import nn
from bptrain.models import CNNConfig, SequentialConfig
from bptrain.ops.kernels import use_kernels
from bptrain.ops.tanh import tanh_function
from bptrain.problem import Problem
from bptrain.tape import Step, layout, record
from bptrain.tape.calls import Call, Function
from bptrain.tape.comparison import TOLERANCE_16_BIT, agree
from bptrain.tape.program import Program
from bptrain.tape.segments import Segment

Made = tuple[torch.nn.Module, torch.nn.Module, Tensor, Tensor]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every dense convolution count as one that gains, however small."""
    monkeypatch.setattr(layout, "gains", lambda call: call.arguments[3].groups == 1)


class Branches(torch.nn.Module):
    """A convolution that is used twice, dropout, a sum, and an image as an output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.by_channel = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.relu, self.add = nn.BatchNorm2d(4), nn.ReLU(), nn.Add()
        self.dropout, self.pool = nn.Dropout(0.3), nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.norm(self.first(x)))
        b = self.dropout(self.twice(a))
        output: Tensor = self.pool(self.add(self.twice(self.by_channel(b)), a))
        return output


def branches() -> Made:
    return Branches(), nn.MSELoss(), torch.randn(3, 2, 8, 8), torch.randn(3, 4, 4, 4)


def of(name: str) -> Callable[[], Made]:
    def made() -> Made:
        model, loss, (x,), (t,) = NETWORKS[name]()
        return model, loss, x, t

    return made


def layers(*listed: object) -> Callable[[], Made]:
    def made() -> Made:
        config = SequentialConfig(layers=[*listed, "Flatten", {"Linear": 4}])
        model, loss, (x,), (t,) = of_images(config)
        return model, loss, x, t

    return made


CONV = {"Conv2d": {"out_channels": 5, "kernel_size": 3, "padding": 1}}
MADE: dict[str, Callable[[], Made]] = {
    "cnn": of("cnn"),
    "resnet": of("resnet"),
    "residual and concatenation": of("layers"),
    "branches": branches,
    "pools": layers(CONV, {"AvgPool2d": 2}, CONV, "Tanh", {"AdaptiveAvgPool2d": 1}),
    "activations": layers(CONV, "GELU", CONV, "SiLU", CONV, "ELU", {"MaxPool2d": 2}),
}


def images_read(step: Step) -> list[str]:
    """Return the operations of the only program that read an image with the channels last."""
    (program,) = step._programs.values()
    assert isinstance(program, Program)
    entries = [
        each
        for entry in program.entries
        for each in (entry.entries if isinstance(entry, Segment) else [entry])
    ]
    last = {
        number
        for each in entries
        if isinstance(each, Function) and each.arguments[-1] is torch.channels_last
        for number in each.outputs
    }
    found = []
    for each in entries:
        if isinstance(each, Call) and last.intersection(each.reads):
            found.append(each.operation.name)
            last.update(each.outputs)
    return found


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("checkpointing", ["none", "sqrt"])
@pytest.mark.parametrize("name", MADE)
def test_loss_gradients_and_buffers_are_autograds(name: str, checkpointing: str) -> None:
    torch.manual_seed(1)
    model, loss, x, t = MADE[name]()
    plain = deepcopy(model)
    step = record(model, loss, checkpointing=checkpointing)
    for _ in range(2):
        state = torch.get_rng_state()
        run = step.begin((x,), (t,))
        outputs = run.forward()
        value = run.loss()
        run.backward(lambda each: each)
        drawn = torch.get_rng_state()
        torch.set_rng_state(state)
        expected = plain(x)
        reference = loss(expected, t)
        reference.backward()
        assert torch.equal(torch.get_rng_state(), drawn)
        torch.testing.assert_close(outputs, expected.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(value, reference.detach())
        assert outputs.stride() == expected.stride()
    assert step.reasons == []
    assert images_read(step)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert ours.grad.stride() == ours.stride()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("always")
def test_what_follows_a_convolution_stays_in_its_layout() -> None:
    model, loss, x, t = MADE["cnn"]()
    step = record(model, loss)
    step(x, t)
    assert images_read(step) == ["conv", "relu_max_pool"]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_so_they_are_under_autocast(name: str) -> None:
    torch.manual_seed(1)
    model, loss, x, t = MADE[name]()
    plain, step = deepcopy(model), record(model, loss)
    with torch.autocast("cpu", torch.bfloat16):
        step(x, t)
        reference = loss(plain(x), t)
    reference.backward()
    assert step.reasons == []
    assert images_read(step)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert ours.grad.dtype == torch.float32
        assert agree(ours.grad, theirs.grad, 1e-2, tolerance=TOLERANCE_16_BIT)


@pytest.mark.usefixtures("always")
def test_a_deep_network_is_laid_out_under_autocast() -> None:
    """Its gradients differ by much more than a rounding in any other order of sums."""
    torch.manual_seed(0)
    problem = Problem("classification", (3, 32, 32), 10)
    model = CNNConfig(preset="resnet", depth=20).build(problem, "cpu")
    step = record(model, nn.CrossEntropyLoss())
    with torch.autocast("cpu", torch.bfloat16):
        step(torch.randn(8, 3, 32, 32), torch.randint(10, (8,)))
    assert step.reasons == []
    assert images_read(step)


class WithLoss(torch.nn.Module):
    """A network that returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.loss = nn.Conv2d(2, 4, 3), nn.MSELoss()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.conv(x), t)
        return loss


@pytest.mark.usefixtures("always")
def test_a_model_that_returns_its_loss_returns_it_in_either_layout() -> None:
    model, x, t = WithLoss(), torch.randn(3, 2, 8, 8), torch.randn(3, 4, 6, 6)
    step = record(model, lambda output: output)
    step((x, t))
    run = step.begin((x, t), ())
    output = run.forward()
    assert output is not None
    assert torch.equal(output, run.loss())
    torch.testing.assert_close(output, model(x, t).detach())


@pytest.mark.usefixtures("always")
def test_the_text_shows_it_and_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    model, loss, x, t = MADE["resnet"]()
    step = record(model, loss)
    text = step.text((x,), (t,))
    assert "torch.channels_last" in text
    before = deepcopy(model.state_dict())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    value, gradients = run_text(text, tensors, x, t)
    model.load_state_dict(before)
    assert torch.equal(value, step(x, t))
    for name, parameter in model.named_parameters():
        assert torch.equal(gradients[name], parameter.grad), name


@pytest.mark.usefixtures("always")
def test_a_model_in_channels_last_stays_as_it_is() -> None:
    model, loss, x, t = MADE["cnn"]()
    step = record(model.to(memory_format=torch.channels_last), loss)
    step(x, t)
    assert images_read(step) == []
    assert step.reasons == []


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("part", ["forward", "backward"])
def test_an_entry_that_is_another_in_that_layout_keeps_the_recorded_one(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def faulty(*given: object) -> object:
        """Return the opposite where an image has its channels last."""
        result = getattr(correct, part)(*given)
        given_image = given[0]
        assert isinstance(given_image, Tensor)
        is_last = given_image.dim() == 4 and not given_image.is_contiguous()
        if not is_last:
            return result
        return -result if part == "backward" else (-result[0], result[1])

    correct = tanh_function.fused
    model, loss, x, t = layers(CONV, "Tanh")()
    plain = deepcopy(model)
    monkeypatch.setattr(tanh_function, "fused", correct._replace(**{part: faulty}))
    step = record(model, loss)
    step(x, t)
    assert images_read(step) == []
    assert step.reasons == []
    monkeypatch.undo()
    loss(plain(x), t).backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.usefixtures("always")
def test_numbers_that_differ_by_a_rounding_may_change_places() -> None:
    """Of each of some windows both numbers are sums of the same terms, in another order."""
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 1)
    torch.nn.init.constant_(conv.weight, 0.1)
    x = torch.randn(64, 64, 8, 8)
    x[0, :, :, 1::2] = x[0, :, :, ::2].flip(0)
    model = torch.nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d((1, 2)), nn.Flatten())
    step = record(model, nn.MSELoss())
    step(x, torch.randn(64, 64 * 32))
    assert step.reasons == []
    assert images_read(step) == ["conv", "relu_max_pool"]


@pytest.mark.parametrize(
    ("images", "weight", "options", "expected"),
    [
        ((128, 32, 14, 14), (16, 32, 3, 3), {}, True),
        ((2, 32, 14, 14), (16, 32, 3, 3), {}, False),  # small
        ((40, 256, 8, 8), (256, 256, 3, 3), {}, False),  # large weights
        ((128, 32, 14, 14), (32, 1, 3, 3), {"groups": 32}, False),
        ((128, 32, 14, 14), (16, 32, 3, 3), {"dtype": torch.float64}, False),  # not oneDNN's
    ],
)
def test_which_convolutions_gain(
    images: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any], expected: bool
) -> None:
    conv = nn.Conv2d(images[1], weight[0], 3, padding=1, **options)
    assert conv.weight.shape == weight
    model = torch.nn.Sequential(conv, nn.Flatten())
    x = torch.zeros(images, dtype=conv.weight.dtype)
    step = record(model, nn.MSELoss())
    step(x, model(x).detach())
    assert step.reasons == []
    assert images_read(step) == ["conv"] * expected


@pytest.mark.usefixtures("always")
def test_the_formulas_are_computed_as_they_are_written() -> None:
    model, loss, x, t = MADE["cnn"]()
    step = record(model, loss)
    with use_kernels("formula"):
        step(x, t)
        assert images_read(step) == []
