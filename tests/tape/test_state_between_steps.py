"""A state that a model carries from step to step is an input and an output of its program."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from networks import NETWORKS, Network
from torch import Tensor

from bptrain import nn
from bptrain.models.recurrent import LanguageModel
from bptrain.tape import Autograd, Engine, Step
from bptrain.tape.program import Run
from bptrain.tape.recording import RecordedRun
from bptrain.tape.run import AutogradRun

MODELS = ("lstm, language model", "gru, language model")
Between = Callable[[LanguageModel, int], object]


def text(name: str) -> Network:
    torch.manual_seed(0)
    return NETWORKS[name]()


def windows(engine: Engine, network: Network, between: Between) -> list[Tensor]:
    """Return losses, gradients and states of some windows; `between` is called before each."""
    torch.manual_seed(4)
    found: list[Tensor] = []
    tokens = torch.randint(9, (8, 3, 7))
    for number, window in enumerate(tokens):
        between(engine.model, number)
        state = engine.model.carried_state()
        rows = next(iter(state.values())).shape[1] if state else 3
        engine.model.zero_grad()
        run = engine.begin((window[:rows], number == 0), (tokens[number - 1][:rows],))
        run.forward()
        found += [each.clone() for each in engine.model.carried_state().values()]
        found.append(run.loss().detach().clone())
        run.backward(lambda loss: loss)
        found += [p.grad for p in engine.model.parameters()]
    return found


def set_state(model: LanguageModel, by: Callable[[Tensor], Tensor]) -> None:
    model.carry_on({name: by(each) for name, each in model.carried_state().items()})


def evaluate(model: LanguageModel) -> None:
    model.eval()
    with torch.no_grad():
        model(torch.zeros(2, 7, dtype=torch.long), starts=False)
    model.train()


BETWEEN: dict[str, Between] = {
    "nothing happens": lambda model, number: None,
    "somebody changes the state": lambda model, number: set_state(model, lambda x: x + number),
    "in place": lambda model, number: [x.zero_() for x in model.carried_state().values()],
    "it is taken away": lambda model, number: number == 4 and model.carried.clear(),
    "other rows follow": lambda model, number: number == 4 and set_state(model, lambda x: x[:, :2]),
    "it is read column by column": lambda model, number: (
        number == 4 and set_state(model, lambda x: x.mT.contiguous().mT)
    ),
    "the model is evaluated": lambda model, number: evaluate(model),
    "the dict is another": lambda model, number: setattr(model, "carried", dict(model.carried)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("what", BETWEEN)
def test_windows_are_autograds_when(name: str, what: str) -> None:
    network = text(name)
    step = Step(network.model, network.loss)
    reference = Autograd(deepcopy(network.model), network.loss)
    ours, expected = (windows(each, network, BETWEEN[what]) for each in (step, reference))
    assert step.reasons == []
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_after_two_windows_the_model_itself_is_not_called_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, called = text(name), []
    forward = LanguageModel.forward
    monkeypatch.setattr(
        LanguageModel, "forward", lambda *given: [called.append(1), forward(*given)][1]
    )
    step = Step(network.model, network.loss)
    for _ in range(2):
        step(network.inputs, *network.targets)
    assert called
    called.clear()
    for _ in range(3):
        step(network.inputs, *network.targets)
    assert not called


@pytest.mark.parametrize("checkpointing", ["blocks", "sqrt"])
def test_segments_carry_it_on(checkpointing: Any) -> None:
    network = text("lstm, language model")
    step = Step(network.model, network.loss, checkpointing=checkpointing)
    reference = Autograd(deepcopy(network.model), network.loss)
    ours, expected = (
        windows(each, network, BETWEEN["nothing happens"]) for each in (step, reference)
    )
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


class Carrier(torch.nn.Module):
    """A tanh layer that adds what it put out in the last step, and what a test does with that."""

    def __init__(self, start: Any, keep: Callable[["Carrier", Tensor], object]) -> None:
        super().__init__()
        self.first, self.last, self.tanh = nn.Linear(5, 4), nn.Linear(4, 3), nn.Tanh()
        self.add, self.keep, self.calls = nn.Add(), keep, 0
        self.rest = torch.full((6, 4), 0.5)
        if start is not ...:
            self.held = start

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        for each in torch.utils._pytree.tree_leaves(getattr(self, "held", None)):
            hidden = self.add(hidden, each) if isinstance(each, Tensor) else hidden
        hidden = self.tanh(hidden)
        self.keep(self, hidden)
        output: Tensor = self.last(hidden)
        return output


def keep(make: Callable[[Tensor], Any]) -> Callable[[Carrier, Tensor], None]:
    return lambda model, hidden: setattr(model, "held", make(hidden.detach()))


def count(model: Carrier, hidden: Tensor) -> None:
    model.calls += 1
    model.held = hidden.detach() if model.calls % 2 else None


def count_in_private(model: Carrier, hidden: Tensor) -> None:
    model._calls = getattr(model, "_calls", 0) + 1
    model.held = hidden.detach() if model._calls > 3 else None


def alternate(model: Carrier, hidden: Tensor) -> None:
    """Begin anew, from a constant that the module holds too, after every second step."""
    model.held = model.rest if model.held is not model.rest else hidden.detach()


REPLAYED = {
    "a tensor": (None, keep(lambda h: h)),
    "a tensor from the start": (torch.zeros(6, 4), keep(lambda h: h)),
    "an attribute that is not there at first": (..., keep(lambda h: h)),
    "two, the same": (None, keep(lambda h: (h, h))),
    "a list": ([], lambda model, h: model.held.__setitem__(slice(None), [h.detach()])),
    "a nested dict": ({}, lambda model, h: model.held.update(a={"b": [h.detach()]})),
    "a constant in turns": (None, alternate),
}
RECORDED = {
    "with a counter": (None, count),
    "with a private counter": (None, count_in_private),
    "beside a number": (None, lambda model, h: setattr(model, "held", (h.detach(), model.calls))),
    "a tensor that nobody knows": (None, keep(lambda h: torch.from_numpy(h.numpy().copy()))),
}


def steps_of(engine: Engine, x: Tensor, y: Tensor) -> tuple[list[Any], list[type]]:
    found, runs = [], []
    for row in range(6):
        engine.model.zero_grad()
        run = engine.begin((x[row],), (y[row],))
        found += [run.forward().detach().clone(), run.loss().detach().clone()]
        run.backward(lambda loss: loss)
        found += [p.grad for p in engine.model.parameters()]
        held = torch.utils._pytree.tree_leaves(engine.model.held)
        found += [each.clone() for each in held if isinstance(each, Tensor)]
        runs.append(type(run))
    return found, runs


@pytest.mark.parametrize("what", [*REPLAYED, *RECORDED])
def test_what_a_module_keeps_is_carried_on(what: str) -> None:
    torch.manual_seed(0)
    model = Carrier(*deepcopy((REPLAYED | RECORDED)[what]))
    step, reference = Step(model, nn.MSELoss()), Autograd(deepcopy(model), nn.MSELoss())
    x, y = torch.randn(6, 6, 5), torch.randn(6, 6, 3)
    (ours, runs), (expected, _) = steps_of(step, x, y), steps_of(reference, x, y)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert step.reasons == []
    assert runs[1:] == [Run if what in REPLAYED else RecordedRun] * 5


def test_one_list_stays_the_same_object() -> None:
    model = Carrier(*REPLAYED["a list"])
    held, step = model.held, Step(model, nn.MSELoss())
    for _ in range(3):
        step(torch.randn(6, 5), torch.randn(6, 3))
        assert model.held is held
        assert len(held) == 1


def test_the_input_itself_may_be_kept() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(nn.Linear(5, 5))
    keeper = Keeper(model)
    step, reference = Step(keeper, nn.MSELoss()), Autograd(deepcopy(keeper), nn.MSELoss())
    x = torch.randn(2, 6, 5).unbind()
    for row in (0, 1, 1, 1, 0, 0):
        ours, expected = (each.begin((x[row],), (x[1],)) for each in (step, reference))
        assert torch.equal(ours.forward(), expected.forward())
        assert reference.model.before is keeper.before
    assert step.reasons == []


class Keeper(torch.nn.Module):
    """A module that adds its last input to the new one."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.add, self.before = inner, nn.Add(), torch.zeros(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(self.add(x, self.before))
        self.before = x
        return output


@pytest.mark.parametrize(
    ("keeps", "reason"),
    [
        (lambda model, h: setattr(model, "held", h), "keeps a tensor that has a gradient"),
        (lambda model, h: setattr(model, "held", h.numpy), "differs from autograd's"),
    ],
)
def test_what_cannot_be_carried_runs_by_autograd(
    keeps: Callable[[Carrier, Tensor], object], reason: str
) -> None:
    model = Carrier(None, keeps)
    step = Step(model, nn.MSELoss())
    assert isinstance(step.begin((torch.randn(6, 5),), (torch.randn(6, 3),)), AutogradRun)
    assert reason in step.reasons[0]


class Averaged(torch.nn.Module):
    """A loss that keeps its target for the next step."""

    def __init__(self) -> None:
        super().__init__()
        self.loss, self.add, self.before = nn.MSELoss(), nn.Add(), torch.zeros(6, 3)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.add(output, self.before), target)
        self.before = target
        return loss


def test_the_state_of_a_loss_is_recorded_anew() -> None:
    torch.manual_seed(0)
    model, loss = torch.nn.Sequential(nn.Linear(5, 3)), Averaged()
    step = Step(model, loss)
    x, y = torch.randn(4, 6, 5), torch.randn(4, 6, 3)
    for row in range(4):
        expected = nn.MSELoss()(model(x[row]) + y[row - 1] * (row > 0), y[row])
        assert torch.equal(step(x[row], y[row]), expected)
    assert step.reasons == []


def test_a_step_that_leaves_the_tape_runs_once() -> None:
    def leave_later(model: Carrier, hidden: Tensor) -> None:
        model.calls += 1
        model.held = hidden.detach()
        if model.calls >= 3:
            torch.relu(hidden)  # no operation of bptrain's

    model = Carrier(None, leave_later)
    step = Step(model, nn.MSELoss())
    for number in range(5):
        step(torch.randn(6, 5), torch.randn(6, 3))
        assert model.calls == number + 1


def test_the_text_reads_the_state_by_name() -> None:
    network = text("lstm, language model")
    step = Step(network.model, network.loss)
    step(network.inputs, *network.targets)
    lines = step.text(network.inputs, network.targets)
    assert "tensors['carried[0]']" in lines
    assert "tensors['carried[1]']" in lines


@pytest.mark.slow
def test_a_compiled_step_carries_it_on() -> None:
    torch.manual_seed(0)
    model = Carrier(*REPLAYED["a tensor"])
    step = Step(model, nn.MSELoss(), compiles=True)
    reference = Autograd(deepcopy(model), nn.MSELoss())
    x, y = torch.randn(6, 6, 5), torch.randn(6, 6, 3)
    (ours, _), (expected, _) = steps_of(step, x, y), steps_of(reference, x, y)
    assert (step.reasons, step.not_compiled) == ([], [])
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
