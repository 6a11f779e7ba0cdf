"""A step tells of a gradient once nothing more is added to it, while others are still to come."""

from typing import Any

import pytest
import torch
from networks import NETWORKS, Network
from test_observing import Seen
from torch import Tensor

from bptrain import nn
from bptrain.tape import Autograd, Engine, Run, Step
from bptrain.tape.observing import BesideRun
from bptrain.tape.state import has_hooks


class Observed(Step):
    """A step whose runs are all observed, each operation by itself."""

    def begin(self, *batch: Any) -> Run:
        return super().begin(*batch, observer=Seen(), apart=True)


ENGINES = {
    "tape": Step,
    "checkpointing": lambda *given: Step(*given, checkpointing="sqrt"),
    "observed": Observed,
    "autograd": Autograd,
}


def told(engine: Engine, network: Network) -> list[tuple[torch.nn.Parameter, Tensor | None]]:
    """Return the parameters in the order in which a step completes them, with their gradients."""
    found: list[tuple[torch.nn.Parameter, Tensor | None]] = []

    def completed(parameter: torch.nn.Parameter) -> None:
        found.append((parameter, None if parameter.grad is None else parameter.grad.clone()))

    run = engine.begin(network.inputs, network.targets)
    run.forward()
    run.loss()
    run.backward(lambda loss: loss * 0.5, completed)
    return found


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_each_parameter_is_told_once_when_its_gradient_is_the_final_one(
    name: str, kind: str
) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    engine = ENGINES[kind](network.model, network.loss)
    for _ in range(2):  # gradients that are there are added to, as in accumulation
        found = told(engine, network)
        parameters = list(network.model.parameters())
        assert len(found) == len(parameters)
        assert {each for each, _ in found} == set(parameters)
        for parameter, gradient in found:
            assert torch.equal(parameter.grad, gradient)
    assert not any(map(has_hooks, parameters))


@pytest.mark.parametrize("kind", ENGINES)
def test_the_last_layer_is_told_first_and_tied_weights_with_their_first_reader(kind: str) -> None:
    torch.manual_seed(0)
    first, middle = nn.Linear(5, 5), nn.Linear(5, 5)
    model = torch.nn.Sequential(first, nn.Tanh(), middle, nn.Tanh(), nn.Linear(5, 5))
    model[4].weight = first.weight
    network = Network(model, nn.MSELoss(), (torch.randn(3, 5),), (torch.randn(3, 5),))
    found = told(ENGINES[kind](network.model, network.loss), network)
    names = {parameter: name for name, parameter in model.named_parameters()}
    order = [names[each] for each, _ in found]
    assert order[0] == "4.bias"
    assert set(order[1:3]) == {"2.weight", "2.bias"}
    assert set(order[3:]) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("kind", ENGINES)
def test_gradients_of_layers_below_are_not_there_yet(kind: str) -> None:
    model = torch.nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    there = []
    run = ENGINES[kind](model, nn.MSELoss()).begin((torch.randn(3, 4),), (torch.randn(3, 4),))
    run.forward()
    run.loss()
    run.backward(lambda loss: loss, lambda _: there.append(model[0].weight.grad is not None))
    assert there[:2] == [False, False]


def test_a_parameter_that_the_step_does_not_use_may_go_untold() -> None:
    model = torch.nn.Sequential(nn.Linear(4, 3))
    model.register_parameter("unused", torch.nn.Parameter(torch.zeros(2)))
    network = Network(model, nn.MSELoss(), (torch.randn(3, 4),), (torch.randn(3, 3),))
    for engine in (Step(model, nn.MSELoss()), Autograd(model, nn.MSELoss())):
        assert {each for each, _ in told(engine, network)} == set(model[0].parameters())


def test_a_proof_tells_nothing_and_a_step_beside_an_observed_one_once() -> None:
    """The first step runs several times: by autograd, on the tape, and for an observer."""
    torch.manual_seed(0)
    network = NETWORKS["mlp"]()
    step = Step(network.model, network.loss)
    assert len(told(step, network)) == len([*network.model.parameters()])
    beside = BesideRun(
        step.begin(network.inputs, network.targets),
        step.begin(network.inputs, network.targets),
        [*network.model.modules()],
    )
    found: list[torch.nn.Parameter] = []
    beside.forward()
    beside.loss()
    beside.backward(lambda loss: loss, found.append)
    assert len(found) == len([*network.model.parameters()])
