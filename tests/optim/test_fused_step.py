"""A step by the fused kernel alone is torch's step, bit for bit; what is unusual is torch's own."""

from copy import deepcopy
from importlib import import_module

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bptrain.optim.eager import eager
from bptrain.optim.fused_step import KERNELS

KINDS = [
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1}),
    (torch.optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-4}),
]
OTHERS = [
    (torch.optim.Adam, {"amsgrad": True, "fused": True}),
    (torch.optim.Adam, {"maximize": True, "fused": True}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "maximize": True, "fused": True}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "foreach": True}),
    (torch.optim.NAdam, {}),
]

Pair = tuple[torch.optim.Optimizer, torch.optim.Optimizer]


def pair(kind: type, options: dict) -> Pair:
    """Return our optimizer and torch's, of equal weights in two groups."""
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (3,), (2, 5))]
    made = [
        each([{"params": own[:2]}, {"params": own[2:], "weight_decay": 0.0}], **options)
        for each, own in ((eager(kind), weights), (kind, deepcopy(weights)))
    ]
    return made[0], made[1]


def parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def draw_gradients(optimizers: Pair, *, without: int | None = None) -> None:
    for n, pair in enumerate(zip(*map(parameters, optimizers), strict=True)):
        gradient = torch.randn_like(pair[0])
        for parameter in pair:
            parameter.grad = None if n == without else gradient.clone()


def assert_equal(ours: torch.optim.Optimizer, torchs: torch.optim.Optimizer) -> None:
    for one, other in zip(parameters(ours), parameters(torchs), strict=True):
        assert torch.equal(one, other)
    first, second = ours.state_dict()["state"], torchs.state_dict()["state"]
    assert first.keys() == second.keys()
    for number, entries in first.items():
        assert entries.keys() == second[number].keys()
        for name, value in entries.items():
            assert torch.equal(value, second[number][name])


@pytest.mark.parametrize(
    ("kind", "options"), [*((k, {**o, "fused": True}) for k, o in KINDS), *OTHERS]
)
def test_steps_are_torchs_bit_for_bit(kind: type, options: dict) -> None:
    optimizers = pair(kind, options)
    for without in (2, None, 0, None, None):  # a gradient is missing: at first a group's only one
        draw_gradients(optimizers, without=without)
        for each in optimizers:
            each.param_groups[1]["lr"] *= 0.9
            each.step()
        assert_equal(*optimizers)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_so_they_are_from_a_loaded_state(kind: type, options: dict) -> None:
    first, second = (pair(kind, {**options, "fused": True}) for _ in range(2))
    for optimizers in (first, second):
        draw_gradients(optimizers)
        for each in optimizers:
            each.step()
    for saved, other in zip(first, second, strict=True):  # its own state is replaced
        other.load_state_dict(deepcopy(saved.state_dict()))
    draw_gradients(second)
    for each in second:
        each.step()
    assert_equal(*second)


def test_only_the_kernel_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers = pair(torch.optim.Adam, {"fused": True})
    draw_gradients(optimizers)
    ours = optimizers[0]
    ours.step()  # the first one is torch's own
    monkeypatch.setattr(import_module("torch.optim.adam"), "adam", None)
    monkeypatch.setattr("torch.autograd.profiler.record_function", None)
    ours.step()
    ours.zero_grad()
    assert [p.grad for p in parameters(ours)] == [None] * 3


def test_hooks_are_called() -> None:
    optimizers = pair(torch.optim.SGD, {"lr": 0.1, "fused": True})
    called = []
    ours = optimizers[0]
    ours.register_step_post_hook(lambda *_: called.append("post"))
    handle = register_optimizer_step_pre_hook(lambda *_: called.append("pre"))
    draw_gradients(optimizers)
    for each in optimizers:
        each.step()
    handle.remove()
    assert called == ["pre", "post", "pre"]
    assert_equal(*optimizers)


def test_a_step_that_overflowed_is_skipped() -> None:
    ours, _ = optimizers = pair(torch.optim.Adam, {"fused": True})
    draw_gradients(optimizers)
    ours.step()
    before = deepcopy([p.detach() for p in parameters(ours)])
    ours.found_inf, ours.grad_scale = torch.ones(()), None  # as the gradient scaler sets them
    ours.step()
    assert all(map(torch.equal, before, parameters(ours)))


def test_gradients_are_set_to_0_where_that_is_asked_for() -> None:
    ours, _ = optimizers = pair(torch.optim.Adam, {"fused": True})
    draw_gradients(optimizers, without=1)
    ours.zero_grad(set_to_none=False)
    sums = [None if p.grad is None else float(p.grad.abs().sum()) for p in parameters(ours)]
    assert sums == [0, None, 0]


def test_every_kernel_is_tried() -> None:
    assert {kind for kind, _ in KINDS} == set(KERNELS)
