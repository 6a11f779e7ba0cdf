"""The norms of samples' gradients are those of the samples alone; where there are none, why."""

import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.monitor.layer_watch import LayerWatch
from bptrain.monitor.noise_scale import advice, averaged, moments, noise_scale
from bptrain.monitor.sample_gradients import SampleGradients
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.tape import Autograd, Engine, Step

sys.path.append(str(Path(__file__).parents[1] / "tape"))
from networks import NETWORKS, Network


class Mean(torch.nn.Module):
    """The mean over time [N, T, E] -> [N, E]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1)


def of_words(padding: int | None) -> Network:
    model = torch.nn.Sequential(nn.Embedding(5, 4, padding), nn.Linear(4, 3), Mean())
    return Network(model, nn.MSELoss(), (torch.randint(5, (6, 9)),), (torch.randn(6, 3),))


def of_rows(steps: int, width: int) -> Network:
    layers = nn.Linear(4, width), nn.LayerNorm(width), nn.Tanh(), nn.Linear(width, 3), Mean()
    model = torch.nn.Sequential(*layers)
    return Network(model, nn.MSELoss(), (torch.randn(6, steps, 4),), (torch.randn(6, 3),))


EXACT = {
    "mlp": NETWORKS["mlp"],
    "layer norm": NETWORKS["mlp, layer norm, tanh"],
    "cnn": NETWORKS["cnn"],
    "few rows a sample": lambda: of_rows(2, 20),
    "many rows a sample": lambda: of_rows(9, 5),
    "words": lambda: of_words(None),
    "words with padding": lambda: of_words(0),
}
REASONS = {
    "mlp, batch norm, dropout": "batch_norm has no gradients of single samples",
    "rnn": "bptt has no gradients of single samples",  # whose output the loss does not read
    "lstm, two layers": "bptt has no gradients of single samples",
    "shared weights": "a weight is used more than once",
}


def seen(engine: Engine, network: Network) -> SampleGradients:
    watched, watch = WatchedEngine(engine), LayerWatch(engine.model)
    watch.samples = SampleGradients(engine.model.parameters())
    watched.watch_next(1, watch)
    run = watched.begin(network.inputs, network.targets)
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)
    return watch.samples


def alone(network: Network) -> Tensor:
    """Return the norm of each sample's part of the gradient, by its own backward pass."""
    (x,), (y,) = network.inputs, network.targets
    norms = []
    for n in range(len(x)):
        loss = network.loss(network.model(x[n : n + 1]), y[n : n + 1]) / len(x)
        found = torch.autograd.grad(loss, [*network.model.parameters()])
        norms.append(torch.cat([each.flatten() for each in found]).norm())
    return torch.stack(norms)


@pytest.mark.parametrize("engine", [Step, Autograd])
@pytest.mark.parametrize("name", EXACT)
def test_the_norms_are_those_of_each_sample_by_itself(name: str, engine: type[Step]) -> None:
    torch.manual_seed(0)
    network = EXACT[name]()
    found = seen(engine(deepcopy(network.model), network.loss), network)
    torch.testing.assert_close(found.norms(), alone(network), rtol=1e-4, atol=1e-7)
    assert found.reason == ""


@pytest.mark.parametrize("engine", [Step, Autograd])
@pytest.mark.parametrize("name", REASONS)
def test_where_there_are_none_the_reason_is_given(name: str, engine: type[Step]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    found = seen(engine(network.model, network.loss), network)
    assert found.norms() is None
    assert REASONS[name] in found.reason


@pytest.mark.parametrize("engine", [Step, Autograd])
def test_rows_that_are_time_steps_are_no_samples(engine: type[Step]) -> None:
    layers = nn.Flatten(0, 1), nn.Linear(4, 3), nn.Unflatten(0, (6, 5)), Mean()
    model = torch.nn.Sequential(*layers)
    network = Network(model, nn.MSELoss(), (torch.randn(6, 5, 4),), (torch.randn(6, 3),))
    found = seen(engine(model, network.loss), network)
    assert found.norms() is None
    assert found.reason == "the rows of linear are not the samples of the batch"


def test_weights_that_are_cast_have_none() -> None:
    network = NETWORKS["mlp"]()
    with torch.autocast("cpu", torch.bfloat16):
        found = seen(Step(network.model, network.loss), network)
    assert found.norms() is None
    assert "cast" in found.reason


def test_the_noise_scale_is_that_of_gradients_whose_noise_is_known() -> None:
    torch.manual_seed(0)
    mean, deviation, size = torch.full((50,), 0.2), 0.5, 8
    average = None
    for _ in range(2000):
        gradients = mean + deviation * torch.randn(size, 50)
        now = moments(gradients.norm(dim=1), gradients.mean(0).norm(), size)
        average = now if average is None else average + now
    assert average is not None
    # tr S = 50 0.5^2 = 12.5, |G|^2 = 50 0.2^2 = 2
    torch.testing.assert_close(average / 2000, torch.tensor([12.5, 2.0]), rtol=0.03, atol=0.0)
    assert noise_scale(average).item() == pytest.approx(6.25, rel=0.05)


def test_the_average_moves_by_a_tenth_and_a_gradient_within_its_noise_has_no_scale() -> None:
    first, second = torch.tensor([4.0, 1.0]), torch.tensor([14.0, -1.0])
    assert averaged(None, first) is first
    torch.testing.assert_close(averaged(first, second), torch.tensor([5.0, 0.8]))
    assert noise_scale(second).isnan()


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (
            900.0,
            "is 900 samples: larger batches would give better steps, up to data.batch_size=1024",
        ),
        (10.0, "is 10 samples: smaller batches would need fewer samples, data.batch_size=8"),
        (0.0, "is 0 samples: smaller batches would need fewer samples, data.batch_size=1"),
        (120.0, "is 120 samples: data.batch_size=100 fits it"),
        (float("nan"), "is not known"),
    ],
)
def test_the_batch_size_that_the_noise_suggests(scale: float, expected: str) -> None:
    assert advice(scale, 100).startswith(f"the gradient noise scale {expected}")
