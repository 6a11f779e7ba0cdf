"""`watch`: the first number that is not finite is named; what hooks do not show is refused."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bptrain.errors import CheckpointError, NonFiniteError, UsageError
from bptrain.experiment.diagnosis import verdicts_of
from bptrain.monitor import Watcher, watch
from bptrain.monitor.loop_verdicts import RECORD

LOSS = nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


class Planted(torch.autograd.Function):
    """Return a copy; one number of it, or of its gradient, is a NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: str) -> Tensor:
        ctx.place = place
        return spoiled(x) if place == "forward" else x.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return (spoiled(upstream) if ctx.place == "backward" else upstream), None


def spoiled(x: Tensor) -> Tensor:
    y = x.clone()
    y[1, 2] = torch.nan
    return y


class Sick(nn.Module):
    """Pass its input on, and plant a NaN where it is told to."""

    place = ""

    def forward(self, x: Tensor) -> Tensor:
        return Planted.apply(x, self.place)


def model_with(sick: nn.Module) -> nn.Sequential:
    layers = (nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), sick, nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(8, 3))


def step(model: nn.Module, watcher: Watcher, x: Tensor, factor: float = 1.0) -> None:
    loss = LOSS(model(x), torch.zeros(len(x), dtype=torch.long)) * factor
    model.zero_grad()
    loss.backward()
    watcher.step(loss)
    with torch.no_grad():
        for each in model.parameters():
            each -= 0.1 * each.grad


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {
        **deepcopy(model.state_dict()),
        **{f"grad {name}": p.grad.clone() for name, p in model.named_parameters()},
        "generator": torch.get_rng_state(),
    }


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_the_first_layer_pass_and_tensor_are_named(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sick = Sick()
    model = model_with(sick)
    watcher = watch(model, "runs/mine", every=4)
    for _ in range(5):
        step(model, watcher, torch.randn(6, 8))
    sick.place = place
    loss = LOSS(model(torch.randn(6, 8)), torch.zeros(6, dtype=torch.long))
    model.zero_grad()
    loss.backward()
    before = state_of(model)
    with pytest.raises(NonFiniteError) as raised:
        watcher.step(loss)
    named = {"forward": "the output of 3", "backward": "the gradient by the input of 3"}[place]
    assert f"{place} pass, layer 3: {named} holds 1 nan" in str(raised.value)
    assert "at step 6" in raised.value.what
    for name, value in state_of(model).items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name
    assert f"{named} holds 1 nan of 48, the first at [1, 2]" in capsys.readouterr().out

    sick.place = ""  # the step is left out; the loop may continue
    step(model, watcher, torch.randn(6, 8))
    watcher.close()
    (verdict,) = verdicts_of(watcher.log_dir)
    assert (verdict.kind, verdict.step) == ("divergence", 6)
    assert "layer 3" in verdict.reason


class SickWeight(nn.Module):
    """A product whose weight's gradient alone holds a NaN, where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.is_sick = nn.Parameter(torch.randn(8, 1024) / 32), False

    def forward(self, x: Tensor) -> Tensor:
        return x @ Planted.apply(self.weight, "backward" if self.is_sick else "")


@pytest.mark.parametrize("max_overhead", [0.03, None])
def test_a_large_gradient_is_looked_at_in_some_steps_or_in_each(max_overhead: float | None) -> None:
    sick = SickWeight()
    model = nn.Sequential(nn.Linear(8, 8), sick, nn.Linear(1024, 3))
    watcher = watch(model, "runs/mine", max_overhead=max_overhead)
    step(model, watcher, torch.randn(6, 8))
    sick.is_sick = True
    if max_overhead is not None:
        step(model, watcher, torch.randn(6, 8))  # the update spoils the weight
    with pytest.raises(NonFiniteError) as raised:
        step(model, watcher, torch.randn(6, 8))
    if max_overhead is None:
        assert "the norm of the gradient is nan at step 2" in str(raised.value)
        assert all(each.isfinite().all() for each in model.parameters())
    else:
        assert "there before the step" in str(raised.value)
        assert "weight holds 1 nan of 8,192" in str(raised.value)
        assert "max_overhead=None" in str(raised.value)
    watcher.close()


def test_all_gradients_are_looked_at_in_every_tenth_step() -> None:
    sick = SickWeight()
    model = nn.Sequential(nn.Linear(8, 8), sick, nn.Linear(1024, 3))
    watcher = watch(model, "runs/mine")
    for _ in range(9):
        step(model, watcher, torch.randn(6, 8))
    sick.is_sick = True
    with pytest.raises(NonFiniteError, match="the norm of the gradient is nan at step 10"):
        step(model, watcher, torch.randn(6, 8))
    watcher.close()


def test_the_batch_is_named_when_it_holds_the_number() -> None:
    model = model_with(nn.Identity())
    with watch(model, "runs/mine") as watcher:
        with pytest.raises(NonFiniteError, match="the loss is nan at step 1") as raised:
            step(model, watcher, spoiled(torch.randn(6, 8)))
        assert "the data: the batch's input holds 1 nan of 48" in str(raised.value)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (torch.inf, "between the layers: the loss holds"),
        (1e38, "the gradient by the model's output"),
    ],
)
def test_a_loss_outside_of_the_model_is_told_apart(factor: float, expected: str) -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Tensor:
            return upstream * factor * factor

    model = model_with(nn.Identity())
    watcher = watch(model, "runs/mine")
    if factor == torch.inf:
        with pytest.raises(NonFiniteError, match="the loss is inf") as raised:
            step(model, watcher, torch.randn(6, 8), factor)
    else:
        loss = LOSS(Steep.apply(model(torch.randn(6, 8))), torch.zeros(6, dtype=torch.long))
        loss.backward()
        with pytest.raises(NonFiniteError, match="the norm of the gradient is") as raised:
            watcher.step(loss)
    assert expected in str(raised.value)
    watcher.close()


def test_a_model_that_returns_its_loss_beside_other_outputs_is_repeated_exactly() -> None:
    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.sick = nn.Linear(8, 3), Sick()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.sick(self.layer(x))
            return {"loss": LOSS(logits, labels), "logits": logits}

    model = WithLoss()
    model.sick.place = "backward"
    with watch(model, "runs/mine") as watcher:
        loss = model(torch.randn(6, 8), labels=torch.zeros(6, dtype=torch.long))["loss"]
        loss.backward()
        with pytest.raises(NonFiniteError, match="gradient") as raised:
            watcher.step(loss)
    assert "backward pass, layer sick: the gradient by the input of sick" in str(raised.value)


def test_a_backward_pass_whose_beginning_was_not_kept_is_said_to_be_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bptrain.monitor.model_passes.MOST_BYTES", 8)
    sick = Sick()
    sick.place = "backward"
    model = model_with(sick)
    with (
        watch(model, "runs/mine") as watcher,
        pytest.raises(NonFiniteError, match="the norm of the gradient is nan") as raised,
    ):
        step(model, watcher, torch.randn(6, 8))
    assert "too large to be kept" in raised.value.why


def test_gradients_that_a_scaler_skips_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for looks_at_each in (True, False):
        model = model_with(nn.Identity())
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with watch(model, "runs/mine") as watcher:
            monkeypatch.setattr(watcher, "_reads_each", looks_at_each)
            loss = LOSS(model(torch.randn(6, 8)), torch.zeros(6, dtype=torch.long))
            scaler.scale(loss * 100).backward()
            scaler.unscale_(optimizer)
            watcher.step(loss, scaler)
            scaler.step(optimizer)
            scaler.update()
        assert verdicts_of(watcher.log_dir) == []


def test_on_a_gpu_a_step_is_looked_at_when_its_line_is_due(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for late in (2, 1):
        sick = Sick()
        model = model_with(sick)
        watcher = watch(model, "runs/mine", every=3)
        monkeypatch.setattr(watcher, "_reads_each", False)
        for number in range(1, 3 + 1):
            sick.place = "forward" if number == 4 - late else ""
            if number < 3:
                step(model, watcher, torch.randn(6, 8))
        with pytest.raises(NonFiniteError, match=f"at step {4 - late}") as raised:
            step(model, watcher, torch.randn(6, 8))
        assert ("layer 3" in str(raised.value)) == (late == 1)
        assert ("every=1" in str(raised.value)) == (late == 2)
        watcher.close()


def linear() -> nn.Linear:
    return nn.Linear(8, 3)


class Compiled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.inner._compiled_call_impl = self.inner.forward  # as Module.compile() sets it


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: torch.compile(linear()), "compiled"),
        (Compiled, "inner of the model is compiled"),
        (lambda: nn.DataParallel(linear()), "DataParallel"),
        (lambda: nn.LazyLinear(3), "not known"),
        (lambda: nn.Embedding(5, 3, sparse=True), "sparse"),
        (lambda: nn.Linear(8, 3, dtype=torch.complex64), "complex"),
        (lambda: linear().requires_grad_(False), "no parameter that is trained"),
        (lambda: LOSS, "no parameter that is trained"),
        (lambda: "model", "torch.nn.Module"),
    ],
)
def test_what_hooks_do_not_show_is_refused(model: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        watch(model(), "runs/mine")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"level": "all"}, {"max_overhead": 0.0}, {"max_overhead": -1.0}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        watch(linear(), "runs/mine", **options)


def test_a_call_in_another_place_of_the_loop_is_refused() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watcher = watch(model, "runs/mine", every=1)
    with pytest.raises(UsageError, match="not called"):
        watcher.step(1.0)
    loss = LOSS(model(torch.randn(4, 8)), torch.zeros(4, dtype=torch.long))
    with pytest.raises(UsageError, match="no gradient"):
        watcher.step(loss)
    loss.backward()
    with pytest.raises(UsageError, match="one number"):
        watcher.step(torch.ones(2))
    with pytest.raises(UsageError, match=r"an update before watcher\.step"):
        optimizer.step()
    watcher.close()
    for call in (lambda: watcher.step(loss), lambda: watcher.log({"val/loss": 1.0})):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_an_optimizer_that_evaluates_the_loss_several_times_is_refused() -> None:
    model = linear()
    optimizer = torch.optim.LBFGS(model.parameters())
    with watch(model, "runs/mine") as watcher:

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = LOSS(model(torch.ones(4, 8)), torch.zeros(4, dtype=torch.long))
            loss.backward()
            watcher.step(loss)
            return loss

        with pytest.raises(UsageError, match="LBFGS"):
            optimizer.step(closure)


def test_an_optimizer_of_another_model_is_no_update() -> None:
    model, other = linear(), linear()
    with watch(model, "runs/mine") as watcher:
        loss = LOSS(model(torch.randn(4, 8)), torch.zeros(4, dtype=torch.long))
        loss.backward()
        torch.optim.SGD(other.parameters(), 0.1).step()
        watcher.step(loss)


def test_gradients_in_float16_are_unscaled_or_refused() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    found = {}
    for way in ("float32", "unscaled", "scaled", "not told"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watcher = watch(model, "runs/mine", every=1)
        with torch.autocast("cpu", torch.float16, enabled=way != "float32"):
            loss = LOSS(model(torch.randn(16, 8)), torch.zeros(16, dtype=torch.long))
        (loss if way == "float32" else scaler.scale(loss)).backward()
        if way == "not told":
            with pytest.raises(UsageError, match="float16"):
                watcher.step(loss)
            watcher.close()
            continue
        if way == "unscaled":
            scaler.unscale_(optimizer)
        watcher.step(loss, None if way == "float32" else scaler)
        if way == "float32":
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        if way == "scaled":
            with pytest.raises(UsageError, match="unscale_"):
                watcher.close()
            continue
        watcher.close()
        found[way] = json.loads((watcher.log_dir / "metrics.jsonl").read_text().splitlines()[0])
    for tag, value in found["float32"].items():
        if tag.startswith(("grad/", "update_ratio/", "weight/")):
            assert found["unscaled"][tag] == pytest.approx(value, rel=0.01), tag
    assert "grad/total_clipped" not in found["unscaled"]


@pytest.mark.parametrize("text", ["no json", "[]", '{"model": 1}', '{"model": "x", "more": 1}'])
def test_a_record_that_is_damaged_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match=RECORD):
        verdicts_of(tmp_path)


def test_a_model_that_is_compiled_later_is_refused_when_it_runs() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    with watch(model, "runs/mine") as watcher:
        compiled = torch.compile(model, backend="eager")
        with pytest.raises(UsageError, match="was compiled"):
            compiled(torch.randn(4, 8))
    assert watcher.steps == 0
