"""A record is never used where the step would differ: it is made anew, or autograd runs."""

import copy
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bptrain import convert, nn
from bptrain.tape import Step, record

X, Y = torch.randn(6, 5), torch.randn(6, 3)


class Net(torch.nn.Module):
    """Two layers, and what a test puts between them."""

    def __init__(self, between: Callable[["Net", Tensor], Tensor] = lambda _, x: x) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)
        self.dropout, self.relu = nn.Dropout(0.5), nn.ReLU()
        self.between, self.calls, self.scale, self.list = between, 0, 2.0, [1.0]
        self.table, self.pair = torch.ones(4), ([1.0], 2)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.between(self, self.first(x)))
        return output


def by_autograd(net: Net, loss: torch.nn.Module, x: Tensor, y: Tensor) -> list[Tensor | None]:
    net.zero_grad()
    loss(net(x), y).backward()
    return [p.grad for p in net.parameters()]


def follows(net: Net, step: Step, x: Tensor = X, y: Tensor = Y) -> bool:
    """Return whether a step has the gradients of autograd, the generators being in one state."""
    state, python, before = torch.get_rng_state(), random.getstate(), net.calls
    net.zero_grad()
    step(x, y)
    ours, calls = [p.grad for p in net.parameters()], net.calls
    torch.set_rng_state(state)
    random.setstate(python)
    net.calls = before
    reference = by_autograd(net, nn.MSELoss(), x, y)
    assert net.calls == calls
    return all(
        a is b if a is None or b is None else torch.equal(a, b)
        for a, b in zip(ours, reference, strict=True)
    )


CHANGES: dict[str, tuple[Callable[[Net, Tensor], Tensor], Callable[[Net], object]]] = {
    "the probability of dropout": (
        lambda net, x: net.dropout(x),
        lambda net: setattr(net.dropout, "p", 0.9),
    ),
    "the mode": (lambda net, x: net.dropout(x), lambda net: net.eval()),
    "a number": (
        lambda net, x: net.relu(x) if net.scale > 1 else x,
        lambda net: setattr(net, "scale", 0.5),
    ),
    "what a list holds": (
        lambda net, x: net.relu(x) if net.list[0] > 0 else x,
        lambda net: net.list.__setitem__(0, -1.0),
    ),
    "what a list in a tuple holds": (
        lambda net, x: net.relu(x) if net.pair[0][0] > 0 else x,
        lambda net: net.pair[0].__setitem__(0, -1.0),
    ),
    "a module": (
        lambda net, x: net.relu(x),
        lambda net: setattr(net, "relu", nn.Tanh()),
    ),
    "a parameter": (
        lambda net, x: x,
        lambda net: setattr(net.first, "weight", torch.nn.Parameter(torch.ones(4, 5))),
    ),
    "the numbers of a parameter": (
        lambda net, x: x,
        lambda net: torch.nn.init.ones_(net.first.weight),
    ),
    "which parameters are trained": (
        lambda net, x: x,
        lambda net: net.first.weight.requires_grad_(False),
    ),
    "a tensor that is an attribute": (
        lambda net, x: x.abs() if net.table[0] > 5 else net.relu(x),
        lambda net: net.table.fill_(9.0),
    ),
    "Python's random numbers": (
        lambda net, x: net.relu(x) if random.random() < 0.5 else x,
        lambda net: random.seed(1),
    ),
    "a counter of calls": (
        lambda net, x: [setattr(net, "calls", net.calls + 1), net.relu(x) if net.calls % 2 else x][
            1
        ],
        lambda net: None,
    ),
    "the numbers of the batch": (
        lambda net, x: net.relu(x) if x.detach().sum() > 0 else x,
        lambda net: torch.nn.init.constant_(net.first.bias, -9),
    ),
    "a list of the batch's numbers": (
        lambda net, x: net.relu(x) if x.flatten().tolist()[0] > 0 else x,
        lambda net: torch.nn.init.constant_(net.first.bias, -9),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_step_follows_a_change_of(what: str) -> None:
    torch.manual_seed(0)
    between, change = CHANGES[what]
    net = Net(between)
    torch.nn.init.constant_(net.first.bias, 9)  # every number between the layers is above 0
    step = record(net, nn.MSELoss())
    for _ in range(3):
        assert follows(net, step)
    change(net)
    for _ in range(3):
        assert follows(net, step)
    if what != "a tensor that is an attribute":  # then the model calls a function of torch's
        assert step.reasons == []


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda net, x: x.abs(), "aten.abs.default is not an operation of bptrain"),
        (lambda net, x: x + TABLE, "is read that is neither an input"),
        (lambda net, x: x.abs_(), "aten.abs_.default is not an operation of bptrain"),
        (lambda net, x: torch.exp(x), "aten.exp.default is not an operation of bptrain"),
        (
            lambda net, x: x / x.detach(),
            "div is called as no operation of bptrain: it divides by a",
        ),
    ],
)
def test_what_is_not_ours_runs_by_autograd_with_a_reason(
    between: Callable[[Net, Tensor], Tensor], reason: str
) -> None:
    net = Net(between)
    step = record(net, nn.MSELoss())
    assert follows(net, step)
    assert follows(net, step)
    assert len(step.reasons) == 1
    assert reason in step.reasons[0]


TABLE = torch.ones(4)
COUNTER = [0]


def hidden_state(net: Net, x: Tensor) -> Tensor:
    """Depend on something that nobody can see from outside: here, how often this was called."""
    COUNTER[0] += 1
    return net.relu(x) if COUNTER[0] % 2 else x


def test_a_record_that_differs_from_autograd_is_not_used() -> None:
    COUNTER[0] = 0
    net = Net(hidden_state)
    step = record(net, nn.MSELoss())
    step(X, Y)
    assert step.reasons == ["its step differs from autograd's: the loss is another"]


@pytest.mark.parametrize("place", ["module", "loss", "parameter", "accumulated parameter"])
def test_hooks_are_called(place: str) -> None:
    net, loss, called = Net(lambda net, x: net.relu(x)), nn.MSELoss(), []
    step = record(net, loss)
    step(X, Y)
    if place == "loss":
        handle = loss.register_forward_pre_hook(lambda *_: called.append(1))
    elif place == "module":
        handle = net.relu.register_forward_hook(lambda *_: called.append(1))
    elif place == "parameter":
        handle = net.first.weight.register_hook(lambda _: called.append(1))
    else:
        handle = net.first.weight.register_post_accumulate_grad_hook(lambda _: called.append(1))
    step(X, Y)
    assert called == [1]
    assert "has hooks" in step.reasons[0]
    handle.remove()
    assert follows(net, step)
    step(X, Y)
    assert called == [1]


def test_an_input_that_needs_a_gradient_gets_one() -> None:
    net, x = Net(), X.clone().requires_grad_()
    step = record(net, nn.MSELoss())
    step(x, Y)
    assert x.grad is not None
    assert step.reasons == ["an input requires a gradient"]


@pytest.mark.parametrize(
    "change", [lambda x: x.add_(1), lambda x: nn.ReLU(inplace=True)(x)], ids=["add_", "relu"]
)
def test_a_batch_that_the_model_writes_into_is_written_once(
    change: Callable[[Tensor], Tensor],
) -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(change(x))

    net, loss = Writes(), nn.MSELoss()
    reference, ours, theirs = copy.deepcopy(net), X.clone(), X.clone()
    step = record(net, loss)
    assert torch.equal(step(ours, Y), loss(reference(theirs), Y))
    assert torch.equal(ours, theirs)
    assert step.reasons == ["its forward pass writes into the batch"]


def test_a_layer_whose_class_is_set_is_recorded_anew() -> None:
    class Cell(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.last = torch.nn.GRUCell(5, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.last(self.cell(x))
            return output

    net = Cell()
    step, reasons = record(net, nn.MSELoss()), []
    step.notices.by_autograd = reasons.append
    step(X, Y)
    assert reasons
    reasons.clear()
    convert(net)
    assert torch.equal(step(X, Y), nn.MSELoss()(net(X), Y))
    step.reasons.clear()
    step(X, Y)
    assert not step.reasons


def test_a_tensor_given_twice_and_two_tensors_are_two_kinds_of_batch() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 5))
    step = record(model, nn.MSELoss())
    assert float(step(X, X)) != float(step(X, X + 1))
    other = torch.randn(6, 5)
    reference = nn.MSELoss()(model(X), other)
    assert float(step(X, other)) == float(reference.detach())


def test_the_modules_are_left_as_they_were_by_the_proof() -> None:
    model = torch.nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))
    step = record(model, nn.MSELoss())
    state = torch.get_rng_state()
    step.begin((X,), (Y,))
    assert int(model[0].num_batches_tracked) == 0
    assert torch.equal(model[0].running_mean, torch.zeros(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_an_error_of_the_model_is_passed_on_and_nothing_is_changed() -> None:
    model = torch.nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3))
    step = record(model, nn.MSELoss())
    with pytest.raises(ValueError, match="shape"):
        step(X, torch.randn(6, 4))
    assert int(model[0].num_batches_tracked) == 0
    step(X, Y)
    assert step.reasons == []


def test_a_loss_without_a_gradient_is_an_error_of_autograd() -> None:
    net = Net()
    net.requires_grad_(False)
    with pytest.raises(RuntimeError, match="does not require grad"):
        record(net, nn.MSELoss())(X, Y)
