"""What is observed of a step: the same by the tape and by autograd, right, and without a trace."""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bptrain import nn
from bptrain.monitor.layer_watch import LayerWatch, Observed
from bptrain.monitor.time_profile import Part, norms_by_step, profile
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.ops.cat import cat
from bptrain.ops.kernels import use_kernels
from bptrain.ops.time_steps import Steps
from bptrain.tape import Autograd, Engine, Run, Step

sys.path.append(str(Path(__file__).parents[1] / "tape"))
from networks import NETWORKS, Network
from test_equal_gradients import assert_equal, trained


class AlwaysWatched(WatchedEngine):
    """An engine all of whose steps are watched."""

    def begin(self, inputs: tuple[Any, ...], targets: tuple[Any, ...]) -> Run:
        self.watch = self.watch_next(batches=1)
        return super().begin(inputs, targets)


def observed(engine: Engine, network: Network, minimized: Any = lambda loss: loss) -> Observed:
    watched = AlwaysWatched(engine)
    torch.manual_seed(1)
    run = watched.begin(network.inputs, network.targets)
    run.forward()
    run.loss()
    run.backward(minimized)
    return watched.watch.observed(None)


def both(network: Network, **options: Any) -> tuple[Observed, Observed]:
    other = Autograd(deepcopy(network.model), deepcopy(network.loss))
    return observed(Step(network.model, network.loss, **options), network), observed(other, network)


def assert_same(one: Observed, other: Observed) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert [*ours] == [*theirs]
        for tag, value in ours.items():
            assert torch.equal(value, theirs[tag]), tag


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tape_and_autograd_show_the_same(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = both(NETWORKS[name]())
    assert_same(ours, theirs)
    assert ours.numbers


def images_with_channels_last() -> Network:
    """Return a network whose images are large enough to lie with their channels last."""
    layers = (
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 8, 3),
    )
    model = torch.nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 18 * 18, 4))
    return Network(
        model, nn.CrossEntropyLoss(), (torch.randn(48, 3, 42, 42),), (torch.randint(4, (48,)),)
    )


def test_images_with_their_channels_last_are_watched_too() -> None:
    torch.manual_seed(0)
    network = images_with_channels_last()
    ours, theirs = both(network)
    for tag, value in ours.numbers.items():
        torch.testing.assert_close(value, theirs.numbers[tag])
    assert ours.numbers.keys() == theirs.numbers.keys()
    assert {f"grad/activation/{n}" for n in (0, 1, 4, 7)} < ours.numbers.keys()

    plain = Step(deepcopy(network.model), network.loss)
    watched = AlwaysWatched(Step(network.model, network.loss))
    assert_equal(trained(watched, network), trained(plain, network))
    (program, *_) = plain._programs.values()
    assert program.values > plain.recorded[next(iter(plain.recorded))].values  # laid out


@pytest.mark.parametrize("name", ["mlp, batch norm, dropout", "gru, bidirectional"])
def test_so_does_the_tape_with_checkpointing(name: str) -> None:
    torch.manual_seed(0)
    assert_same(*both(NETWORKS[name](), checkpointing="sqrt"))


@pytest.mark.parametrize("name", ["resnet", "lstm, packed", "lstm, language model", "in place"])
@pytest.mark.parametrize("by_tape", [True, False])
def test_a_watched_step_leaves_the_same_behind(name: str, by_tape: bool) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    plain = Autograd(deepcopy(network.model), deepcopy(network.loss))
    engine = (Step if by_tape else Autograd)(network.model, network.loss)
    assert_equal(trained(AlwaysWatched(engine), network), trained(plain, network))


@pytest.mark.parametrize("name", ["mlp, layer norm, tanh", "layers", "shared weights"])
def test_the_norms_are_those_of_autograds_gradients_by_the_outputs(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    shown, _ = both(network)

    outputs: dict[str, list[Tensor]] = {}
    for layer, module in network.model.named_modules():
        module.register_forward_hook(
            lambda *call, of=layer: outputs.setdefault(of, []).append(call[2])
        )
    torch.manual_seed(1)
    loss = network.loss(network.model(*network.inputs), *network.targets)
    found = {
        tag.removeprefix("grad/activation/"): norm
        for tag, norm in shown.numbers.items()
        if "grad" in tag
    }
    assert len(found) > 1
    for layer, norm in found.items():
        gradients = torch.autograd.grad(loss, outputs[layer], retain_graph=True)
        whole = torch.cat([each.flatten() for each in gradients])
        torch.testing.assert_close(norm, whole.norm())


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_the_gradient_over_time_includes_what_comes_through_later_steps(
    cell: str, kernels: Any
) -> None:
    torch.manual_seed(0)
    layer = getattr(torch.nn, cell + "Cell")(3, 4)
    ours = getattr(nn, cell)(3, 4)
    for (_, to), (_, source) in zip(ours.named_parameters(), layer.named_parameters(), strict=True):
        to.data.copy_(source.data)

    class Last(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = ours

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][-1]

    x, y = torch.randn(6, 5, 3), torch.randn(5, 4)
    network = Network(Last(), nn.MSELoss(), (x,), (y,))
    with use_kernels(kernels):
        shown, _ = both(network)

    states, state = [], None
    for x_t in x:
        state = layer(x_t, state)
        states.append(state[0] if isinstance(state, tuple) else state)
        states[-1].retain_grad()
    torch.nn.functional.mse_loss(states[-1], y).backward()
    expected = torch.stack([each.grad.norm() for each in states])
    torch.testing.assert_close(shown.series["grad/time/rnn"], expected)
    torch.testing.assert_close(shown.numbers["grad/activation/rnn"], expected.norm())


def test_the_steps_of_a_cell_are_its_time_steps() -> None:
    class Loop(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[1], 4)
            for x_t in x:
                h = self.cell(x_t, h)
            return h

    torch.manual_seed(0)
    whole = nn.GRU(3, 4)
    network = Network(Loop(), nn.MSELoss(), (torch.randn(6, 5, 3),), (torch.randn(5, 4),))
    for own, other in zip(network.model.parameters(), whole.parameters(), strict=True):
        own.data.copy_(other.data)

    class Last(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = whole

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][-1]

    by_cell, again = both(network)
    assert_same(by_cell, again)
    by_scan, _ = both(network._replace(model=Last()))
    torch.testing.assert_close(by_cell.series["grad/time/cell"], by_scan.series["grad/time/rnn"])


def test_the_batches_of_a_step_count_together() -> None:
    torch.manual_seed(0)
    network = NETWORKS["mlp, layer norm, tanh"]()
    whole, _ = both(network)
    (x,), (y,) = network.inputs, network.targets
    watched = WatchedEngine(Step(network.model, network.loss))
    watch = watched.watch_next(batches=2)
    for rows in (slice(0, 2), slice(2, 6)):
        run = watched.begin((x[rows],), (y[rows],))
        run.forward()
        run.loss()
        share = len(y[rows]) / len(y)
        run.backward(lambda loss, share=share: loss * share)
    run = watched.begin((x,), (y,))  # of the next step: nobody watches
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)
    for tag, value in watch.observed(None).numbers.items():
        torch.testing.assert_close(value, whole.numbers[tag])


def test_fp16s_scale_is_divided_out() -> None:
    torch.manual_seed(0)
    network = NETWORKS["rnn"]()
    watched = AlwaysWatched(Step(network.model, network.loss))
    found = []
    for scale in (1.0, 1024.0):
        run = watched.begin(network.inputs, network.targets)
        run.forward()
        run.loss()
        run.backward(lambda loss, scale=scale: loss * scale)
        found.append(watched.watch.observed(torch.tensor(scale)))
    for one, other in zip(*found, strict=True):
        for tag, value in one.items():
            torch.testing.assert_close(value, other[tag])


def test_norms_of_a_run_that_diverges_are_finite_while_the_gradients_are() -> None:
    gradient = torch.full((6, 4), 3e25)
    for sizes in ((2, 2, 2), (3, 2, 1)):
        norms = norms_by_step(gradient, Steps(sizes))
        assert profile([Part(1, norms)]).isfinite().all()
    watch = LayerWatch(torch.nn.Sequential(torch.nn.Linear(4, 4)))
    watch.begin_batch()
    watch.activation("0", gradient)
    watch.gradient("0", gradient)
    (norm,) = (v for k, v in watch.observed(None).numbers.items() if k.startswith("grad/"))
    assert float(norm) == pytest.approx(3e25 * 24**0.5)


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_the_gradient_over_time_includes_what_comes_through_the_last_cell_state(
    kernels: Any,
) -> None:
    torch.manual_seed(0)
    cell, ours = torch.nn.LSTMCell(3, 4), nn.LSTM(3, 4)
    for to, source in zip(ours.parameters(), cell.parameters(), strict=True):
        to.data.copy_(source.data)

    class LastStates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = ours

        def forward(self, x: Tensor) -> Tensor:
            _, (h, c) = self.rnn(x)
            return cat((h[0], c[0]), 1)

    x, y = torch.randn(6, 5, 3), torch.randn(5, 8)
    with use_kernels(kernels):
        shown, _ = both(Network(LastStates(), nn.MSELoss(), (x,), (y,)))

    states, state = [], None
    for x_t in x:
        state = cell(x_t, state)
        state[0].retain_grad()
        states.append(state[0])
    torch.nn.functional.mse_loss(torch.cat(state, 1), y).backward()
    expected = torch.stack([each.grad.norm() for each in states])
    torch.testing.assert_close(shown.series["grad/time/rnn"], expected)
