"""Dead and saturated units, counted where it is known which they are."""

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.monitor.layer_watch import LayerWatch


def numbers(model: torch.nn.Module, x: Tensor) -> dict[str, float]:
    """Return what a watch says of a sequence of layers."""
    watch = LayerWatch(model)
    for name, layer in model.named_children():
        x = layer(x)
        watch.activation(name, x.detach())
    return {tag: float(value) for tag, value in watch.observed(None).numbers.items()}


def test_a_unit_that_is_0_for_the_whole_batch_is_dead() -> None:
    model = torch.nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-100.0, 100.0, -100.0, 100.0]))
    assert numbers(model, torch.randn(8, 3)) == {"activation/dead/1": 0.5}


def test_a_unit_that_is_not_0_for_one_sample_is_alive() -> None:
    x = torch.tensor([[-1.0, -1.0], [-1.0, 2.0]])
    assert numbers(torch.nn.Sequential(nn.ReLU()), x) == {"activation/dead/0": 0.5}


@pytest.mark.parametrize(
    ("layer", "shape", "units"),
    [
        (nn.Conv2d(2, 4, 3), (5, 2, 6, 6), 4),
        (nn.Conv1d(2, 4, 3), (5, 2, 6), 4),
        (nn.Linear(3, 4), (5, 7, 3), 4),
    ],
    ids=["images", "signals", "sequences"],
)
def test_the_units_are_channels_or_features(
    layer: torch.nn.Module, shape: tuple[int, ...], units: int
) -> None:
    with torch.no_grad():
        layer.bias.fill_(100.0)
        layer.bias[0] = -100.0
    found = numbers(torch.nn.Sequential(layer, nn.ReLU()), torch.randn(shape))
    assert found == {"activation/dead/1": pytest.approx(1 / units)}


@pytest.mark.parametrize(
    ("layer", "x", "share"),
    [
        (nn.Sigmoid(), [0.0, 2.0, -9.0, 9.0], 0.5),
        (nn.Tanh(), [0.0, 1.0, -9.0, 9.0], 0.5),
        (nn.Softsign(), [0.0, 1.0, 1.0, 99.0], 0.25),
        (nn.Hardtanh(), [0.0, 0.5, -9.0, 0.9], 0.25),
        (nn.Hardsigmoid(), [0.0, 2.0, -9.0, 9.0], 0.5),
    ],
    ids=lambda each: type(each).__name__,
)
def test_outputs_in_the_flat_ends_are_saturated(
    layer: torch.nn.Module, x: list[float], share: float
) -> None:
    found = numbers(torch.nn.Sequential(layer), torch.tensor([x]))
    assert found == {"activation/saturated/0": share}


def test_an_activation_without_flat_ends_or_zeros_says_nothing() -> None:
    model = torch.nn.Sequential(nn.GELU(), nn.LeakyReLU(), nn.Softplus())
    assert numbers(model, torch.randn(4, 3)) == {}
