"""The norms of samples' gradients are those of the samples alone; where there are none, why."""

import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from bptrain import nn
from bptrain.monitor import sample_gradients
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


def of_series(layer: torch.nn.RNNBase) -> Network:
    """Return a recurrent layer whose output at each step and last state the loss reads."""
    outputs = layer.proj_size or layer.hidden_size
    model = EveryStep(layer, nn.Linear(outputs * (1 + layer.bidirectional), 3))
    return Network(model, nn.MSELoss(), (torch.randn(6, 9, 4),), (torch.randn(6, 3),))


class EveryStep(torch.nn.Module):
    """A recurrent layer, its outputs summed and its last state added."""

    def __init__(self, layer: torch.nn.RNNBase, last: nn.Linear) -> None:
        super().__init__()
        self.layer, self.last = layer, last

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.layer(x)
        h = state[0] if isinstance(state, tuple) else state
        mean: Tensor = self.last(y).mean(1) + h.sum((0, 2)).unsqueeze(1)
        return mean


def of_one_step() -> Network:
    model = torch.nn.Sequential(nn.Unflatten(1, (1, 4)), nn.RNN(4, 5, batch_first=True), First())
    return Network(model, nn.MSELoss(), (torch.randn(6, 4),), (torch.randn(6, 1, 5),))


class First(torch.nn.Module):
    """The first of several outputs."""

    def forward(self, outputs: tuple[Tensor, Tensor]) -> Tensor:
        return outputs[0]


EXACT = {
    "mlp": NETWORKS["mlp"],
    "layer norm": NETWORKS["mlp, layer norm, tanh"],
    "cnn": NETWORKS["cnn"],
    "few rows a sample": lambda: of_rows(2, 20),
    "many rows a sample": lambda: of_rows(9, 5),
    "words": lambda: of_words(None),
    "words with padding": lambda: of_words(0),
    "rnn": NETWORKS["rnn"],  # whose output the loss does not read, but its last state
    "lstm": lambda: of_series(nn.LSTM(4, 5, batch_first=True)),
    "wide gru, so that pairs of steps are cheaper": lambda: of_series(
        nn.GRU(4, 40, batch_first=True)
    ),
    "two layers in both directions": lambda: of_series(
        nn.GRU(4, 3, 2, batch_first=True, bidirectional=True)
    ),
    "projected, without biases": lambda: of_series(
        nn.LSTM(4, 6, batch_first=True, proj_size=2, bias=False)
    ),
    "one time step": of_one_step,
}


class FromState(torch.nn.Module):
    """A recurrent layer whose first state is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(4, 5, batch_first=True)
        self.h = torch.nn.Parameter(torch.randn(1, 6, 5))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x, self.h)[0]
        return output.sum(1)


class OfPacked(torch.nn.Module):
    """A recurrent layer on sequences of two lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.RNN(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.cat([x, x[:3]])
        packed = PackedSequence(rows, torch.tensor([6, 3]))
        output: Tensor = self.layer(packed)[1].squeeze(0)
        return output


def of_rows_of(model: torch.nn.Module, *shape: int) -> Network:
    return Network(model, nn.MSELoss(), (torch.randn(6, *shape),), (torch.randn(6, 5),))


MORE = {
    "first state": lambda: of_rows_of(FromState(), 7, 4),
    "packed numbers": lambda: of_rows_of(OfPacked(), 4),
}
REASONS = {
    "mlp, batch norm, dropout": "batch_norm has no gradients of single samples",
    "shared weights": "a weight is used more than once",
    "lstm, packed": "the rows of packed sequences are not the samples of the batch",
    "first state": "a weight is read by what is no operation of bptrain",
    "packed numbers": "the rows of packed sequences are not the samples of the batch",
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


def in_double(network: Network) -> Network:
    (x,), (y,) = network.inputs, network.targets
    inputs, targets = (each.double() if each.is_floating_point() else each for each in (x, y))
    return Network(network.model.double(), network.loss, (inputs,), (targets,))


@pytest.mark.parametrize("engine", [Step, Autograd])
@pytest.mark.parametrize("name", EXACT)
def test_the_norms_are_those_of_each_sample_by_itself(name: str, engine: type[Step]) -> None:
    torch.manual_seed(0)
    network = in_double(EXACT[name]())
    found = seen(engine(deepcopy(network.model), network.loss), network)
    torch.testing.assert_close(found.norms(), alone(network), rtol=1e-9, atol=1e-12)
    assert found.reason == ""


@pytest.mark.parametrize("name", ["mlp", "lstm", "words"])
def test_in_float32_they_are_those_of_float64(name: str) -> None:
    torch.manual_seed(0)
    network = EXACT[name]()
    found = seen(Step(deepcopy(network.model), network.loss), network)
    torch.testing.assert_close(found.norms(), alone(network), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["wide gru, so that pairs of steps are cheaper", "lstm"])
def test_a_few_samples_at_once_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = in_double(EXACT[name]())
    expected = seen(Step(deepcopy(network.model), network.loss), network).norms()
    monkeypatch.setattr(sample_gradients, "MOST_NUMBERS", 400)
    found = seen(Step(network.model, network.loss), network).norms()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("engine", [Step, Autograd])
@pytest.mark.parametrize("name", REASONS)
def test_where_there_are_none_the_reason_is_given(name: str, engine: type[Step]) -> None:
    torch.manual_seed(0)
    network = (NETWORKS | MORE)[name]()
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
    mean, std, size = torch.full((50,), 0.2), 0.5, 8
    average = None
    for _ in range(2000):
        gradients = mean + std * torch.randn(size, 50)
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
