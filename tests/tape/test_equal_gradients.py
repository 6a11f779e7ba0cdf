"""The tape's steps are autograd's: loss, outputs, gradients, buffers, states, random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from networks import NETWORKS, Network, Signed, regression

from bptrain import nn
from bptrain.ops import add
from bptrain.ops.kernels import use_kernels
from bptrain.tape import Autograd, Engine, Step
from bptrain.tape.recording import RecordedRun
from bptrain.train.states import CarriesState

STEPS = 3


def trained(engine: Engine, network: Network) -> list[object]:
    """Return everything that some steps leave behind, each with batches of two sizes."""
    model = engine.model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found: list[object] = []
    torch.manual_seed(3)
    for step in range(STEPS):
        optimizer.zero_grad()
        for rows in (None, -1) if step and not isinstance(model, CarriesState) else (None,):
            cut = [x[:rows] if isinstance(x, torch.Tensor) else x for x in network.inputs]
            run = engine.begin(tuple(cut), tuple(t[:rows] for t in network.targets))
            found += [run.forward().detach().clone(), run.loss().detach().clone()]
            run.backward(lambda loss: loss * 0.5)
        found += [p.grad for p in model.parameters()]
        optimizer.step()
        found += [each.clone() for each in model.state_dict().values()]
        found += list(model.carried_state().values()) if isinstance(model, CarriesState) else []
    return [*found, torch.get_rng_state()]


def assert_equal(ours: list[object], reference: list[object]) -> None:
    assert len(ours) == len(reference)
    for one, other in zip(ours, reference, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def compare(name: str) -> Step:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    step = Step(network.model, network.loss)
    reference = Autograd(deepcopy(network.model), deepcopy(network.loss))
    assert_equal(trained(step, network), trained(reference, network))
    assert not step.reasons
    return step


@pytest.mark.parametrize("name", NETWORKS)
def test_tape_and_autograd_are_equal_bit_for_bit(name: str) -> None:
    compare(name)


@pytest.mark.parametrize("name", ["mlp, batch norm, dropout", "cnn", "gru, bidirectional"])
def test_so_they_are_by_the_formulas(name: str) -> None:
    with use_kernels("formula"):
        compare(name)


@contextmanager
def in_bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.parametrize("name", ["mlp, batch norm, dropout", "cnn", "lstm, packed", "attention"])
def test_so_they_are_under_autocast(name: str) -> None:
    with in_bf16():
        step = compare(name)
    assert step.reasons == []


def test_gradients_are_added_to_those_that_are_there() -> None:
    network = NETWORKS["mlp"]()
    step = Step(network.model, network.loss)
    step(network.inputs, *network.targets)
    once = [p.grad.clone() for p in network.model.parameters()]
    step(network.inputs, *network.targets)
    twice = [p.grad for p in network.model.parameters()]
    assert_equal(twice, [2 * each for each in once])


def test_a_parameter_that_is_not_trained_gets_no_gradient() -> None:
    network = NETWORKS["mlp"]()
    network.model.get_parameter("linear1.weight").requires_grad_(False)
    step = Step(network.model, network.loss)
    step(network.inputs, *network.targets)
    without = [n for n, p in network.model.named_parameters() if p.grad is None]
    assert without == ["linear1.weight"]


class Moved(torch.nn.Module):
    """Two parameters that are added, so that the upstream gradient itself is that of both."""

    def __init__(self) -> None:
        super().__init__()
        self.by = torch.nn.ParameterList([torch.zeros(6, 3), torch.zeros(6, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return add(add(x, self.by[0]), self.by[1])


def test_two_parameters_never_share_the_memory_of_a_gradient() -> None:
    model = Moved()
    Step(model, nn.MSELoss())(torch.randn(6, 3), torch.randn(6, 3))
    first, second = (p.grad for p in model.parameters())
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_is_reused(name: str) -> None:
    assert not is_recorded_anew(NETWORKS[name]())


def test_it_is_not_where_numbers_decide_what_runs() -> None:
    assert is_recorded_anew(regression(Signed(), 5))


def is_recorded_anew(network: Network) -> bool:
    step = Step(network.model, network.loss)
    first, second = (step.begin(network.inputs, network.targets) for _ in range(2))
    assert type(first) is type(second)
    return isinstance(second, RecordedRun)
