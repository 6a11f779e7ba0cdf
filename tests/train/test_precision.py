"""The precision of training: torch's own recipe with its scaler, and the overflow of a step."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bptrain import nn as ours
from bptrain.errors import NonFiniteError, UsageError
from bptrain.train import precision as precision_module
from bptrain.train.precision import DTYPES, Precision, refuse_lost_scale

CPU = torch.device("cpu")
CUDA = pytest.param("cuda", marks=pytest.mark.cuda)
DEVICES = ["cpu", *[CUDA] * torch.cuda.is_available()]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "fused sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "fused adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, foreach=True),
}
OVERFLOWS = 1e6  # above fp16's 65504


def network(kind: type = ours.Linear) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(kind(4, 6), nn.Tanh(), kind(6, 3))


def batch(factor: float = 1.0, device: str = "cpu") -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return factor * torch.randn(8, 4, device=device), torch.randn(8, 3, device=device)


def step(
    precision: Precision, model: nn.Module, optimizer: torch.optim.Optimizer, factor: float = 1.0
) -> Tensor:
    x, y = batch(factor, precision.device.type)
    optimizer.zero_grad()
    with precision.computing():
        loss = nn.functional.mse_loss(model(x), y)
    loss.backward(precision.scaled(torch.ones_like(loss)))
    precision.unscale(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    precision.step(optimizer)
    return loss


def weights_of(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_products_are_computed_in_the_precision_and_weights_stay_in_float32(
    name: str, device: str
) -> None:
    precision = Precision.of(name, torch.device(device))
    model = network().to(device)
    with precision.computing():
        outputs = model(batch(device=device)[0])
        loss = ours.MSELoss()(outputs.float(), batch(device=device)[1])
    assert outputs.dtype == precision.dtype == DTYPES[name]
    loss.backward(precision.scaled(torch.ones_like(loss)))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_steps_are_those_of_torchs_recipe(name: str, optimizer: str, device: str) -> None:
    model, other = (network(nn.Linear).to(device) for _ in range(2))
    mine, theirs = (OPTIMIZERS[optimizer](m.parameters()) for m in (model, other))
    precision = Precision.of(name, torch.device(device))
    scaler = torch.amp.GradScaler(device, enabled=name == "fp16")
    for factor in (1.0, 2.0, 0.5, OVERFLOWS if name == "fp16" else 1.0, 1.0, 3.0):
        step(precision, model, mine, factor)
        x, y = batch(factor, device)
        theirs.zero_grad()
        with torch.autocast(device, DTYPES[name], enabled=name != "fp32"):
            loss = nn.functional.mse_loss(other(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(theirs)
        nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        scaler.step(theirs)
        scaler.update()
    torch.testing.assert_close(weights_of(model), weights_of(other), rtol=0, atol=0)
    if name == "fp16":
        assert precision.scale.item() == scaler.get_scale() == 2**15


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_step_that_overflows_changes_nothing_but_the_scale(
    steps_before: int, optimizer: str, device: str
) -> None:
    model = network().to(device)
    updater = OPTIMIZERS[optimizer](model.parameters())
    precision = Precision.of("fp16", torch.device(device))
    for _ in range(steps_before):
        step(precision, model, updater)
    weights = weights_of(model)
    state = {p: {k: v.clone() for k, v in s.items()} for p, s in updater.state.items()}
    step(precision, model, updater, OVERFLOWS)
    assert precision.scale.item() == 2**15
    torch.testing.assert_close(weights_of(model), weights, rtol=0, atol=0)
    for parameter, entries in state.items():
        torch.testing.assert_close(dict(updater.state[parameter]), entries, rtol=0, atol=0)
    step(precision, model, updater)
    assert all(not a.equal(b) for a, b in zip(weights_of(model), weights, strict=True))
    assert all(w.isfinite().all() for w in weights_of(model))


def test_a_first_step_that_is_skipped_leaves_no_uninitialized_momentum() -> None:
    model, other = network(), network()
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        for each, factors in ((model, (OVERFLOWS, 1.0, 1.0)), (other, (1.0, 1.0))):
            optimizer = OPTIMIZERS["fused sgd"](each.parameters())
            precision = Precision.of("fp16", CPU)
            for factor in factors:
                step(precision, each, optimizer, factor)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(weights_of(model), weights_of(other), rtol=1e-3, atol=1e-4)


def test_clipping_by_value_does_not_hide_an_overflow() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = OPTIMIZERS["fused sgd"]([weight])
    precision = Precision.of("fp16", CPU)
    for overflow in (True, False, True):
        before = weight.detach().clone()
        weight.grad = precision.scaled(torch.ones(3))
        if overflow:
            weight.grad[1] = float("inf")
        precision.unscale(optimizer)
        nn.utils.clip_grad_value_([weight], 0.5)
        precision.step(optimizer)
        assert weight.equal(before) == overflow


def test_a_step_unscales_by_itself_if_unscale_was_not_called() -> None:
    weight = nn.Parameter(torch.ones(3))
    precision = Precision.of("fp16", CPU)
    weight.grad = precision.scaled(torch.ones(3))
    precision.step(OPTIMIZERS["fused sgd"]([weight]))
    assert weight.tolist() == pytest.approx([0.9] * 3)


@pytest.mark.parametrize("device", DEVICES)
def test_small_gradients_survive_fp16_by_the_scale(device: str) -> None:
    precision = Precision.of("fp16", torch.device(device))
    linear = ours.Linear(2, 2, bias=False).to(device)
    optimizer = torch.optim.SGD(linear.parameters(), lr=1.0)
    grads = {}
    for scaled in (False, True):
        optimizer.zero_grad()
        with precision.computing():
            loss = (linear(torch.ones(1, 2, device=device)).float() * 1e-9).sum()
        gradient = torch.ones_like(loss)
        loss.backward(precision.scaled(gradient) if scaled else gradient)
        if scaled:
            precision.unscale(optimizer)
        grads[scaled] = linear.weight.grad.clone()
    assert grads[False].abs().max() == 0
    assert grads[True].flatten().tolist() == pytest.approx([1e-9] * 4, rel=1e-3)


def test_a_restored_scale_continues_counting_towards_its_doubling() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.0, fused=True)

    def good_steps(precision: Precision, count: int) -> None:
        for _ in range(count):
            weight.grad = precision.scaled(torch.ones(1))
            precision.unscale(optimizer)
            precision.step(optimizer)

    first = Precision.of("fp16", CPU)
    good_steps(first, 1999)
    state = json.loads(json.dumps(first.state(), allow_nan=False))
    second = Precision.of("fp16", CPU)
    second.restore(state)
    assert second.state() == first.state()
    assert second.scale.item() == 2**16
    good_steps(second, 1)
    assert second.scale.item() == 2**17


def test_other_precisions_have_no_scale_and_no_state() -> None:
    scaled = Precision.of("fp16", CPU)
    for name in ("fp32", "bf16"):
        precision = Precision.of(name, CPU)
        gradient = torch.ones(())
        assert precision.scaled(gradient) is gradient
        assert precision.scale is None
        assert precision.state() == {}
        precision.restore(scaled.state())
        scaled.restore(precision.state())
    assert scaled.scale.item() == 2**16


def test_gradients_that_overflow_at_every_scale_are_refused_in_the_end() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = OPTIMIZERS["fused sgd"]([weight])
    precision = Precision.of("fp16", CPU)
    for _ in range(16):
        weight.grad = precision.scaled(torch.full((1,), float("nan")))
        precision.unscale(optimizer)
        precision.step(optimizer)
        refuse_lost_scale(precision.scale.item(), step=1)
    weight.grad = precision.scaled(torch.full((1,), float("nan")))
    precision.step(optimizer)
    with pytest.raises(NonFiniteError, match=r"every scale.* 0\.5, at step 17"):
        refuse_lost_scale(precision.scale.item(), step=17)
    assert weight.item() == 1


def test_a_gpu_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UsageError, match="bf16 on cuda") as raised:
        Precision.of("bf16", torch.device("cuda"))
    assert "7.5" in str(raised.value)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert Precision.of("bf16", torch.device("cuda")).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_device_without_autocast_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="on meta"):
        Precision.of(name, torch.device("meta"))


def test_a_large_first_gradient_is_no_overflow() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=1e-30, fused=True)
    precision = Precision.of("fp16", CPU)
    weight.grad = precision.scaled(torch.full((3,), 1e30))  # its square is infinite in float32
    precision.step(optimizer)
    assert weight.abs().max() < 1e-6


def test_the_host_checks_the_gradients_until_the_first_step_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    found = precision_module._all_finite
    monkeypatch.setattr(precision_module, "_all_finite", lambda o: looks.append(1) or found(o))
    model = network()
    optimizer = OPTIMIZERS["fused sgd"](model.parameters())
    precision = Precision.of("fp16", CPU)
    for factor in (OVERFLOWS, 1.0, 1.0, OVERFLOWS, 1.0):
        step(precision, model, optimizer, factor)
    assert len(looks) == 2
