"""`watch`: a loop of one's own gets the numbers, verdicts and reports that `fit` gives."""

import json
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fingerprints import draw_fingerprints
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks
from torch.utils.checkpoint import checkpoint

import bptrain
from bptrain.config import config_of
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.diagnosis import verdicts_of
from bptrain.experiment.plan import plan
from bptrain.monitor import Watcher, watch


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Have runs draw fingerprints: matplotlib takes most of the time of so short a training."""
    if "real_pictures" not in request.fixturenames:
        draw_fingerprints(monkeypatch.setattr)


STEPS, EVERY = 8, 4
TRAINING: dict[str, Any] = {
    "device": "cpu",
    "schedule": {"kind": "constant"},
    "train": {"steps": STEPS, "clip_grad_norm": 0.1},
    "monitor": {"log_every": EVERY, "max_overhead": None},
}
DIGITS: dict[str, Any] = {
    **TRAINING,
    "name": "digits",
    "data": {"kind": "digits", "batch_size": 32},
    "model": {"kind": "mlp", "hidden": [16, 12], "activation": "relu", "normalization": "batch"},
    "optimizer": {"kind": "adam", "lr": 0.01},
}
ADDING: dict[str, Any] = {
    **TRAINING,
    "name": "adding",
    "data": {"kind": "adding", "length": 9, "samples": 300, "batch_size": 16},
    "model": {"kind": "rnn", "cell": "lstm", "hidden": 8},
    "optimizer": {"kind": "adam", "lr": 0.01},
}
OF_FIT_ALONE = (  # and what a clock or a meter decides
    *("perf/", "val/", "test/", "baseline/", "train/epoch", "train/accuracy", "train/mae"),
    *("data/chance_loss", "data/classes", "data/time_steps", "data/target_rms"),
)
LOSS = nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def lines_in(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def numbers_in(folder: Path, left_out: tuple[str, ...] = ()) -> dict[tuple[int, str], Any]:
    return {
        (line["step"], tag): value
        for line in lines_in(folder)
        for tag, value in line.items()
        if "/" in tag and not tag.startswith(left_out) and line["step"] <= STEPS
    }


def train_as(config: dict[str, Any], prepared: Callable[[nn.Module], nn.Module]) -> Path:
    """Train the model of a config in a plain loop of torch's, and watch it."""
    experiment = build(plan(config_of(ExperimentConfig, config)))
    model = prepared(experiment.model)
    optimizer = torch.optim.Adam(model.parameters(), config["optimizer"]["lr"])
    with watch(model, "runs/own", every=EVERY, max_overhead=None) as watcher:
        for batch, _ in zip(experiment.batches.epoch(0), range(STEPS), strict=False):
            optimizer.zero_grad()
            loss = experiment.loss_function(model(*batch.inputs), *batch.targets)
            loss.backward()
            watcher.step(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
    return watcher.log_dir


@pytest.mark.parametrize(
    ("config", "prepared"),
    [(DIGITS, bptrain.to_torch), (DIGITS, lambda model: model), (ADDING, lambda model: model)],
    ids=["torch.nn", "bptrain.nn", "recurrent"],
)
def test_a_loop_of_ones_own_logs_what_fit_logs(
    config: dict[str, Any], prepared: Callable[[nn.Module], nn.Module]
) -> None:
    expected = numbers_in(bptrain.fit(config).folder, OF_FIT_ALONE)
    found = numbers_in(train_as(config, prepared), OF_FIT_ALONE)
    assert found.keys() == expected.keys()
    assert {"grad/total_clipped", "update_ratio/output", "data/input_rms"} <= {t for _, t in found}
    for key, value in expected.items():
        error = 1e-5 if "growth" in key[1] else 1e-7  # of a difference of nearly equal norms
        assert found[key] == pytest.approx(value, rel=2e-4, abs=error), key


def mlp(*activations: nn.Module, width: int = 8) -> nn.Sequential:
    layers = [nn.Sequential(nn.Linear(width, width), each) for each in activations]
    return nn.Sequential(*(part for each in layers for part in each), nn.Linear(width, 3))


def batch(rows: int = 16, width: int = 8) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, width), torch.randint(3, (rows,))


def train(
    model: nn.Module, watcher: Watcher, steps: int = 8, rate: float = 0.1, loss: Any = LOSS
) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(steps):
        x, y = batch()
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        watcher.step(value)
        optimizer.step()


def test_the_board_holds_the_lines_and_a_second_log_gets_a_folder_of_its_own() -> None:
    folders = []
    for _ in range(2):
        model = mlp(nn.ReLU())
        with watch(model, "runs/mine", every=2) as watcher:
            train(model, watcher, steps=4)
            watcher.log({"val/loss": 0.5})
        folders.append(watcher.log_dir)
    assert folders == [Path("runs/mine"), Path("runs/mine-2")]
    board = EventAccumulator(str(folders[0] / "tensorboard"))
    board.Reload()
    for (step, tag), value in numbers_in(folders[0]).items():
        assert (step, pytest.approx(value)) in [(e.step, e.value) for e in board.Scalars(tag)]
    assert numbers_in(folders[0])[4, "val/loss"] == 0.5


def test_after_it_is_closed_no_hook_is_left() -> None:
    model = mlp(nn.ReLU())
    hooks_of_all = (
        nn.modules.module._global_forward_hooks,
        nn.modules.module._global_forward_pre_hooks,
        _global_optimizer_post_hooks,
    )
    before = [len(each) for each in hooks_of_all]
    watcher = watch(model, "runs/mine", every=1)
    train(model, watcher, steps=3)
    x, y = batch()
    value = LOSS(model(x), y)  # a step that is not told of: its tensors have hooks
    watcher.close()
    watcher.close()
    assert [len(each) for each in hooks_of_all] == before
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    value.backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert [line["step"] for line in lines_in(watcher.log_dir)] == [1, 2, 3]


def test_watching_changes_no_weight() -> None:
    model = mlp(nn.ReLU(), nn.Dropout())
    models = [model, deepcopy(model)]
    torch.manual_seed(1)
    with watch(models[0], "runs/mine", level="full", every=2, max_overhead=None) as watcher:
        train(models[0], watcher)

    class Nobody:
        def step(self, loss: Tensor) -> None:
            """Do nothing."""

    torch.manual_seed(1)
    train(models[1], Nobody())  # type: ignore[arg-type]  # which the loop calls alike
    for ours, other in zip(*(each.parameters() for each in models), strict=True):
        assert torch.equal(ours, other)
    tags = {tag.rpartition("/")[0] for _, tag in numbers_in(watcher.log_dir)}
    assert {"magnitude/weight", "magnitude/activation", "grad"} <= tags
    assert (4, "grad/cosine") in numbers_in(watcher.log_dir)


def with_dead_units() -> nn.Sequential:
    model = mlp(nn.ReLU(), nn.ReLU())
    model[2].bias.data.fill_(-10.0)
    return model


@pytest.mark.parametrize(
    ("made", "kind", "layer", "step"),
    [
        (lambda: mlp(*[nn.Sigmoid()] * 8), "vanishing", "8", 8),  # the first with enough lines
        (with_dead_units, "dead", "3", 2),
    ],
    ids=["vanishing", "dead"],
)
def test_a_verdict_is_told_written_and_diagnosed(
    made: Callable[[], nn.Module],
    kind: str,
    layer: str,
    step: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = made()
    with watch(model, "runs/mine", every=2, max_overhead=None) as watcher:
        train(model, watcher, steps=10)
        told = capsys.readouterr().out
    assert kind in told
    assert kind in capsys.readouterr().out  # and again at the end
    (written,) = [line for line in lines_in(watcher.log_dir) if f"verdict/{kind}" in line]
    assert written["step"] == step
    (verdict,) = verdicts_of(watcher.log_dir)
    assert (verdict.kind, verdict.layer) == (kind, layer)


def test_advice_is_for_a_loop_and_not_for_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    model = mlp(nn.ReLU())
    with watch(model, "runs/mine", every=1, max_overhead=None) as watcher:
        train(model, watcher, steps=5, rate=100.0)
    assert "  try: lr=0.05" in capsys.readouterr().out
    (verdict,) = verdicts_of(watcher.log_dir)
    assert verdict.advice[0] == "lr=0.05"
    assert "optimizer." not in str(verdict.as_json())


def test_between_two_lines_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp(nn.ReLU(), nn.Sigmoid())
    watcher = watch(model, "runs/mine", every=4, max_overhead=None, level="full")
    monkeypatch.setattr(watcher, "_reads_each", False)  # as on a GPU
    waits: list[int] = []
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__"):
        original = getattr(Tensor, name)

        def noted(*arguments: Any, _of: Any = original) -> Any:
            waits.append(watcher.steps)
            return _of(*arguments)

        monkeypatch.setattr(Tensor, name, noted)
    train(model, watcher, steps=13)
    assert set(waits) == {4, 8, 12}
    watcher.close()


def test_evaluation_without_gradients_does_not_count() -> None:
    model = mlp(nn.ReLU())
    watched = []
    for evaluates in (False, True):
        copied = deepcopy(model)
        torch.manual_seed(1)
        with watch(copied, "runs/mine", every=1, max_overhead=None) as watcher:
            for _ in range(3):
                train(copied, watcher, steps=1)
                if evaluates:
                    with torch.no_grad():
                        copied(torch.full((4, 8), 100.0))
        watched.append(numbers_in(watcher.log_dir, ("perf/",)))
    assert watched[0] == watched[1]


def test_accumulated_batches_count_together_and_so_do_several_calls() -> None:
    model = mlp(nn.ReLU(), nn.Sigmoid())
    x, y = batch()
    found = []
    for way in ("whole", "accumulated", "called twice"):
        copied = deepcopy(model)
        with watch(copied, "runs/mine", every=1, max_overhead=None) as watcher:
            losses = []
            for rows in [slice(16)] if way == "whole" else [slice(4), slice(4, 16)]:
                losses.append(LOSS(copied(x[rows]), y[rows]) * (len(y[rows]) / 16))
                if way == "accumulated":
                    losses[-1].backward()
            loss = torch.stack(losses).sum()
            if way != "accumulated":
                loss.backward()
            watcher.step(loss)
            for parameter in copied.parameters():  # an update by hand
                parameter.data -= 0.1 * parameter.grad
        found.append(numbers_in(watcher.log_dir, ("perf/",)))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for key, value in found[0].items():
            assert other[key] == pytest.approx(value, rel=1e-4), key
    assert found[0][1, "update_ratio/0"] > 0


def test_a_module_that_is_used_twice_is_one_layer_and_a_frozen_one_has_no_gradient() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.shared = nn.Linear(8, 8), nn.Linear(8, 8)
            self.again, self.output = self.shared, nn.Linear(8, 3)
            self.frozen.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            self.first = self.shared(self.frozen(x))
            self.second = self.again(self.first.relu())
            for each in (self.first, self.second):
                each.retain_grad()
            return self.output(self.second)

    model = Twice()
    watcher = watch(model, "runs/mine", every=1, max_overhead=None)
    train(model, watcher, steps=1)
    watcher.close()
    numbers = numbers_in(watcher.log_dir)
    whole = torch.stack([model.first.grad.norm(), model.second.grad.norm()]).norm()
    assert numbers[1, "grad/activation/shared"] == pytest.approx(float(whole))
    names = {tag.rpartition("/")[2] for _, tag in numbers if tag.startswith("grad/layer")}
    assert names == {"shared", "output"}
    assert (1, "grad/activation/frozen") not in numbers


def test_parameters_that_are_trained_later_are_seen() -> None:
    model = mlp(nn.ReLU())
    model[0].requires_grad_(False)
    with watch(model, "runs/mine", every=1, max_overhead=None) as watcher:
        train(model, watcher, steps=1)
        model[0].requires_grad_(True)
        train(model, watcher, steps=1)
    numbers = numbers_in(watcher.log_dir)
    for tag in ("grad/layer/0", "update_ratio/0"):
        assert (1, tag) not in numbers
        assert numbers[2, tag] > 0
    squares = [numbers[2, f"grad/layer/{name}"] ** 2 for name in (0, 2)]
    assert numbers[2, "grad/total"] == pytest.approx(sum(squares) ** 0.5)


def test_parameters_of_the_model_itself_have_the_name_of_its_class() -> None:
    model = nn.Linear(8, 3)
    with watch(model, "runs/mine", every=1) as watcher:
        train(model, watcher, steps=1)
    numbers = numbers_in(watcher.log_dir)
    assert numbers[1, "grad/layer/Linear"] == pytest.approx(numbers[1, "grad/total"])
    assert numbers[1, "update_ratio/Linear"] > 0


class Loop(nn.Module):
    """A cell of torch.nn's, step by step."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for x_t in x:
            state = self.cell(x_t, state)
        return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_gradient_over_time_is_right_or_not_there(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    models = {
        "cell": Loop(getattr(nn, kind + "Cell")(3, 4)),
        "fused": Last(getattr(nn, kind)(3, 4)),
    }
    for own, other in pairwise(models.values()):
        for to, source in zip(other.parameters(), own.parameters(), strict=True):
            to.data.copy_(source.data)
    models["converted"] = bptrain.convert(deepcopy(models["fused"]))
    models["converted cell"] = bptrain.convert(deepcopy(models["cell"]))
    x, y = torch.randn(6, 5, 3), torch.randn(5, 4)
    found = {}
    for name, model in models.items():
        with watch(model, "runs/mine", every=1) as watcher:
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            watcher.step(loss)
        found[name] = numbers_in(watcher.log_dir)
        assert ("torch.nn." in capsys.readouterr().out) == (name == "fused")
    profiles = {name: numbers.get((1, "grad/time/cell")) for name, numbers in found.items()}
    assert profiles["fused"] is None
    assert (1, "grad/activation/cell") not in found["fused"]
    assert len(profiles["cell"]) == 6
    for name in ("converted", "converted cell"):
        assert profiles[name] == pytest.approx(profiles["cell"], rel=1e-4)
        whole = found[name][1, "grad/activation/cell"]
        assert whole == pytest.approx(found["cell"][1, "grad/activation/cell"], rel=1e-4)


class Last(nn.Module):
    """A recurrent layer's last output."""

    def __init__(self, cell: nn.RNNBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0][-1]


class Recomputed(nn.Module):
    """Layers of which some are run again in the backward pass."""

    def __init__(self, way: bool | None) -> None:
        super().__init__()
        self.way, self.first, self.last = way, nn.Linear(8, 8), nn.Linear(8, 3)
        self.inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.way is None:
            return self.last(self.inner(h))
        return self.last(checkpoint(self.inner, h, use_reentrant=self.way))


def test_layers_that_are_run_again_count_once() -> None:
    model = Recomputed(None)
    found = []
    for way in (None, False, True):
        copied = deepcopy(model)
        copied.way = way
        torch.manual_seed(1)
        with watch(copied, "runs/mine", level="full", every=1) as watcher:
            train(copied, watcher, steps=1)
        found.append(numbers_in(watcher.log_dir, ("perf/",)))
    plain, again, reentrant = found
    assert again == plain
    inside = (1, "grad/activation/inner.0")  # whose output has no gradient in the first pass
    assert reentrant == {key: value for key, value in plain.items() if key != inside}


def test_a_model_for_several_processes_is_watched_by_its_own_names() -> None:
    model = mlp(nn.ReLU())
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        found = []
        for wrapped in (False, True):
            copied: nn.Module = deepcopy(model)
            copied = nn.parallel.DistributedDataParallel(copied) if wrapped else copied
            torch.manual_seed(1)
            with watch(copied, "runs/mine", every=2, max_overhead=None) as watcher:
                train(copied, watcher, steps=4)
            found.append(numbers_in(watcher.log_dir, ("perf/",)))
    finally:
        dist.destroy_process_group()
    assert found[1].keys() == found[0].keys()
    for key, value in found[0].items():
        assert found[1][key] == pytest.approx(value, rel=1e-5), key


@pytest.mark.usefixtures("real_pictures")
def test_the_board_has_pictures_of_the_gradient_flow() -> None:
    folder = train_as(DIGITS, lambda model: model)
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    assert board.Tags()["images"] == ["Flow/by_depth", "Flow/by_step"]
    assert [each.step for each in board.Images("Flow/by_depth")] == [STEPS]
