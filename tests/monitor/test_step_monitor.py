"""When a step is observed, and what of that a checkpoint keeps."""

import pytest
import torch

from bptrain import nn
from bptrain.monitor.magnitudes import octaves
from bptrain.monitor.step_monitor import Level, StepMonitor
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.stateful import Tree
from bptrain.tape import Step
from bptrain.tape.layer_gradients import LayerGradients

told: list[str] = []


def monitor_of(
    model: torch.nn.Module, level: Level = "standard", max_overhead: float | None = None
) -> StepMonitor:
    engine = WatchedEngine(Step(model, nn.MSELoss()))
    return StepMonitor(engine, LayerGradients(model), level, max_overhead, told.append)


def take_step(monitor: StepMonitor, step: int, is_logged: bool = True) -> bool:
    """Take a step that doubles all weights; return whether it was observed."""
    model = monitor.engine.model
    monitor.before_step(step, 1, is_logged, next_is_logged=True)
    run = monitor.engine.begin((torch.randn(6, 5),), (torch.randn(6, 3),))
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)
    with torch.no_grad():
        torch._foreach_mul_([*model.parameters()], 2.0)
    monitor.after_step(None, torch.ones(()))
    return bool(monitor.observed.numbers)


def test_logged_steps_are_observed_as_often_as_the_overhead_allows() -> None:
    monitor = monitor_of(nn.Linear(5, 3), max_overhead=0.25)
    seen = []
    for step in range(1, 13):
        if take_step(monitor, step, is_logged=step % 3 == 0):
            seen.append(step)
        monitor.forget()
    assert seen == [3, 9]  # 6 comes too early, and 12 too


@pytest.mark.parametrize(
    ("model", "level", "interval"),
    [
        (nn.Linear(1000, 100), "standard", 10),
        (nn.Linear(1000, 100), "full", 20),
        (nn.Linear(5, 3), "standard", 10),
        (nn.Linear(5, 3), "full", 40),  # as many kernels as large layers, in less time
        (nn.LSTM(5, 3), "standard", 20),
        (nn.LSTM(5, 3), "full", 25),
        (nn.LSTM(5, 3), "basic", 0),
    ],
)
def test_the_interval_follows_from_what_the_model_has(
    model: torch.nn.Module, level: Level, interval: int
) -> None:
    assert monitor_of(model, level, max_overhead=0.1).interval == interval


def test_nothing_is_observed_at_level_basic() -> None:
    assert not take_step(monitor_of(nn.Linear(5, 3), "basic"), 1)


def test_the_update_is_relative_to_the_weights_before_it() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    before = [sum(p.square().sum() for p in layer.parameters()).sqrt() for layer in model]
    monitor = monitor_of(model)
    assert take_step(monitor, 1)
    for name, norm in zip(("0", "1"), before, strict=True):
        torch.testing.assert_close(monitor.observed.numbers[f"weight/norm/{name}"], norm)
        ratio = monitor.observed.numbers[f"update_ratio/{name}"]
        torch.testing.assert_close(ratio, torch.ones(()))


def test_the_first_observed_step_tells_how_far_the_ones_before_it_went() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    torch.nn.init.zeros_(model[1].weight)
    torch.nn.init.zeros_(model[1].bias)
    monitor = monitor_of(model)
    take_step(monitor, 1, is_logged=False)
    take_step(monitor, 2, is_logged=False)
    again = monitor_of(model)
    again.restore(monitor.state())
    take_step(again, 3)  # the weights are four times what they were, after two steps
    growth = {tag: each for tag, each in again.observed.numbers.items() if "growth" in tag}
    torch.testing.assert_close(growth.pop("weight/growth/0"), torch.tensor(1.5))
    assert growth == {"weight/growth/1": 0.0}  # of 0 there is no multiple
    take_step(again, 4)
    assert not any("growth" in tag for tag in again.observed.numbers)


def test_what_is_not_logged_yet_is_in_the_state() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    monitor = monitor_of(model, max_overhead=0.25)
    take_step(monitor, 7)
    again = monitor_of(model, max_overhead=0.25)
    again.restore(monitor.state())
    assert again.observed.numbers.keys() == monitor.observed.numbers.keys()
    for tag, value in monitor.observed.numbers.items():
        assert torch.equal(again.observed.numbers[tag], value)
    again.forget()
    assert not take_step(again, 10)
    assert take_step(again, 11)


EMPTY: Tree = {"last": None, "count": 0, "numbers": {}, "series": {}, "before": {}}


@pytest.mark.parametrize(
    "state",
    [
        {**EMPTY, "last": 0},
        {**EMPTY, "last": True},
        {**EMPTY, "more": 1},
        {**EMPTY, "numbers": {"grad/activation/0": 1.0}},
        {**EMPTY, "numbers": {"grad/activation/0": torch.ones(2)}},
        {**EMPTY, "series": {"grad/time/0": torch.ones(())}},
        {**EMPTY, "numbers": []},
        {**EMPTY, "before": {"0": torch.ones(2)}},
        {**EMPTY, "moments": 1.0},
        {**EMPTY, "start": 1.0},
        {**EMPTY, "start": torch.ones(9)},
    ],
)
def test_an_invalid_state_is_refused(state: Tree) -> None:
    with pytest.raises(ValueError, match=r".+"):
        monitor_of(nn.Linear(5, 3)).restore(state)


def test_the_cosine_is_that_of_the_step_before() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    monitor = monitor_of(model, "full", max_overhead=2.0)  # observes every second step at most
    seen = []
    for step, sign in ((1, 1.0), (2, 1.0), (3, -1.0), (4, 1.0)):
        is_observed = step in (1, 3)
        monitor.before_step(step, 1, is_observed, next_is_logged=step == 2)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, sign * step)
        monitor.after_step(None, torch.ones(()))
        seen.append(monitor.observed.numbers.get("grad/cosine"))
        if step == 2:
            again = monitor_of(model, "full", max_overhead=2.0)
            again.restore(monitor.state())
            monitor = again
        monitor.forget()
    assert [value is None for value in seen] == [True, True, False, True]
    torch.testing.assert_close(seen[2], torch.tensor(-1.0))


def test_histograms_count_magnitudes_by_octave() -> None:
    counts = octaves([torch.tensor([0.0, 2.0**-30, 1.0, 1.5, -2.0]), torch.tensor([255.0, 1e9])])
    assert counts.shape == (32,)
    found = {exponent - 24: int(n) for exponent, n in enumerate(counts.tolist()) if n}
    assert found == {-24: 2, 0: 2, 1: 1, 7: 2}


def test_every_fourth_observed_step_at_level_full_has_histograms() -> None:
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    monitor = monitor_of(model, "full")
    kinds = []
    for step in range(1, 7):
        take_step(monitor, step)
        kinds.append(sorted(tag for tag in monitor.observed.series if tag.startswith("magnitude/")))
        numbers = monitor.observed.numbers
        assert {"grad/sample/mean", "grad/sample/max"} <= numbers.keys()
        assert ("grad/cosine" in numbers) == (step > 1)
        monitor.forget()
    assert [bool(each) for each in kinds] == [True, False, False, False, True, False]
    layers = ["activation/0", "activation/1", "activation/2", "grad/0", "grad/2"]
    assert kinds[0] == [f"magnitude/{each}" for each in (*layers, "weight/0", "weight/2")]


def test_a_reason_is_told_once() -> None:
    told.clear()
    model = torch.nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    monitor = monitor_of(model, "full")
    for step in range(1, 4):
        take_step(monitor, step)
    assert len(told) == 1
    assert "batch_norm" in told[0]
