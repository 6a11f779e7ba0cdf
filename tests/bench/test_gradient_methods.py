"""Backward, finite differences and forward mode: the same gradient, and where they are refused."""

import pytest
import torch

from bptrain import nn
from bptrain.bench import gradient_methods
from bptrain.bench.gradient_methods import (
    BACKWARD,
    DIFFERENCES,
    FORWARD_MODE,
    SizeResult,
    laws_of,
    measure_size,
)
from bptrain.bench.subject import Subject
from bptrain.bench.widths import at_width
from bptrain.errors import ConfigKeyError
from bptrain.models.cnn import CNNConfig
from bptrain.models.mlp import MLPConfig
from bptrain.models.rnn import RNNConfig
from bptrain.models.sequential import SequentialConfig
from bptrain.train.precision import Precision


def subject(*layers: torch.nn.Module, inputs: tuple[int, ...]) -> Subject:
    torch.manual_seed(0)
    precision = Precision(torch.float32, torch.device("cpu"))
    batch = (torch.randn(inputs),), (torch.tensor([0, 1, 2, 1]),)
    model = torch.nn.Sequential(*layers)
    return Subject("test", model, nn.CrossEntropyLoss(), *batch, precision, lambda _: lambda: None)


@pytest.mark.parametrize(
    ("layers", "inputs"),
    [
        ([nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3)], (4, 3)),
        ([nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)], (4, 3)),
        ([nn.Conv2d(1, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()], (4, 1, 3, 3)),
    ],
)
def test_the_three_methods_return_the_same_gradient(
    layers: list[torch.nn.Module], inputs: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient_methods, "MEASURED_S", 0.0)
    left_out: dict[str, str] = {}
    given = subject(*layers, inputs=inputs)
    before = [each.detach().clone() for each in given.model.parameters()]
    found = measure_size(given, 1.0, left_out)
    assert left_out == {}
    assert found is not None
    assert found.parameters == given.parameters
    assert found.difference[BACKWARD] == 0
    assert found.difference[DIFFERENCES] < 1e-6
    assert found.difference[FORWARD_MODE] < 1e-10
    for weight, old in zip(given.model.parameters(), before, strict=True):
        assert torch.equal(weight, old)


def test_finite_differences_that_take_too_long_are_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gradient_methods, "MEASURED_S", 0.0)
    monkeypatch.setattr(gradient_methods, "MOST_S", 0.0)
    monkeypatch.setattr(gradient_methods, "by_finite_differences", None)
    assert measure_size(subject(nn.Linear(3, 3), inputs=(4, 3)), 1.0, {}) is None


def test_a_model_without_forward_mode_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoForwardMode(torch.autograd.Function):
        @staticmethod
        def forward(x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def setup_context(ctx: object, inputs: object, output: object) -> None: ...

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> torch.Tensor:
            return grad * 2

    class Doubled(torch.nn.Module):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return NoForwardMode.apply(input)

    monkeypatch.setattr(gradient_methods, "MEASURED_S", 0.0)
    left_out: dict[str, str] = {}
    found = measure_size(subject(nn.Linear(3, 3), Doubled(), inputs=(4, 3)), 1.0, left_out)
    assert found is not None
    assert set(found.seconds) == {BACKWARD, DIFFERENCES}
    assert left_out.keys() == {FORWARD_MODE}


def test_laws_are_fitted_over_the_number_of_weights() -> None:
    sizes = [
        SizeResult(1.0, weights, {BACKWARD: 1e-3, DIFFERENCES: 2e-3 * weights}, {})
        for weights in (10, 100, 1000)
    ]
    laws = laws_of(sizes)
    assert laws[BACKWARD].exponent == pytest.approx(0, abs=1e-12)
    assert laws[DIFFERENCES].exponent == pytest.approx(1)
    assert FORWARD_MODE not in laws
    assert sizes[1].over_backward(DIFFERENCES) == pytest.approx(2)


def test_widths_scale_the_hidden_layers_of_each_kind_of_model() -> None:
    assert at_width(MLPConfig(hidden=[256, 3]), 0.25).hidden == [64, 1]
    rnn = at_width(RNNConfig(hidden=64, embedding=8), 0.125)
    assert (rnn.hidden, rnn.embedding) == (8, 1)
    assert at_width(RNNConfig(hidden=64), 0.5).embedding is None
    assert at_width(CNNConfig(width=2.0), 0.25).width == 0.5


@pytest.mark.parametrize("model", [MLPConfig(hidden=[]), SequentialConfig(layers=["Flatten"])])
def test_a_model_without_widths_is_refused(model: MLPConfig | SequentialConfig) -> None:
    with pytest.raises(ConfigKeyError, match="width"):
        at_width(model, 0.5)
