"""An observer is shown every value and gradient of a step, and changes none."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import NETWORKS
from test_equal_gradients import assert_equal, trained
from torch import Tensor

from bptrain import nn
from bptrain.tape import Autograd, Run, Step
from bptrain.tape.batch import Batch
from bptrain.tape.calls import Entry, Gradients, Values, numbers_in
from bptrain.tape.observing import BesideRun, observed


class Seen:
    """An observer that notes which entries it was shown, and the gradients by their outputs."""

    def __init__(self) -> None:
        self.forward: list[str] = []
        self.upstream: dict[str, Tensor] = {}
        self.contributions: dict[str, Tensor] = {}

    def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
        assert all(values[n] is not None for n in (*entry.reads, *numbers_in(entry.outputs)))
        self.forward.append(entry.layer)

    def before_backward(self, entry: Entry, upstream: Sequence[Tensor | None], saved: Any) -> None:
        assert len(upstream) == len(entry.outputs)
        if upstream[0] is not None:
            self.upstream[entry.layer] = upstream[0].clone()

    def after_backward(self, entry: Entry, gradients: Gradients) -> None:
        found = gradients[entry.reads[0]] if entry.reads else None
        if found is not None:
            self.contributions[entry.layer] = found.clone()


class Observed(Step):
    """A step whose runs are all observed."""

    seen: Seen

    def begin(self, *batch: Any) -> Run:
        self.seen = Seen()
        return super().begin(*batch, observer=self.seen)


@pytest.mark.parametrize("kind", ["none", "sqrt"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_observed_step_is_autograds_bit_for_bit(name: str, kind: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    step = Observed(network.model, network.loss, checkpointing=kind)
    reference = Autograd(deepcopy(network.model), deepcopy(network.loss))
    assert_equal(trained(step, network), trained(reference, network))
    assert step.reasons == []
    assert step.seen.forward
    assert step.seen.upstream


@pytest.mark.parametrize("kind", ["none", "blocks"])
def test_the_gradients_shown_are_those_by_each_layers_output_and_input(kind: str) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Sigmoid())
    loss, x, y = nn.MSELoss(), torch.randn(6, 5), torch.randn(6, 3)
    step = Observed(model, loss, checkpointing=kind)
    run = step.begin((x,), (y,))
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)

    outputs: dict[str, Tensor] = {}
    value = x
    for name, layer in model.named_children():
        value = outputs[name] = layer(value)
        value.retain_grad()
    loss(value, y).backward()
    for name, output in outputs.items():
        assert torch.equal(step.seen.upstream[name], output.grad)
    for name, before in (("1", "0"), ("2", "1"), ("3", "2")):
        assert torch.equal(step.seen.contributions[name], outputs[before].grad)
    assert [each for each in step.seen.forward if each][:4] == ["0", "1", "2", "3"]


def test_all_that_a_run_beside_an_observed_one_leaves_is_its_own() -> None:
    torch.manual_seed(0)
    network = NETWORKS["mlp, batch norm, dropout"]()
    reference = Autograd(deepcopy(network.model), deepcopy(network.loss))

    class Beside(Step):
        def begin(self, *batch: Any) -> Run:
            run = super().begin(*batch)
            program = self._programs[self._key(Batch(*batch, True))]
            shown = observed(replace(program, parameters=()), Seen())
            return BesideRun(run, shown.run([*batch[0], *batch[1]]), self._modules)

    step = Beside(network.model, network.loss)
    assert_equal(trained(step, network), trained(reference, network))


@pytest.mark.parametrize(
    ("fuses", "operations"), [(True, ["linear_relu"]), (False, ["linear", "relu"])]
)
def test_an_observer_may_be_shown_each_operation_by_itself(
    fuses: bool, operations: list[str]
) -> None:
    names: list[str] = []

    class Named(Seen):
        def after_forward(self, entry: Entry, values: Values, saved: Any) -> None:
            names.append(entry.operation.name)

    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    step = Step(model, nn.MSELoss(), fuses=fuses)
    run = step.begin((torch.randn(6, 5),), (torch.randn(6, 4),), observer=Named())
    run.forward()
    assert names == operations
