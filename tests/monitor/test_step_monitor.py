"""When a step is observed, and what of that a checkpoint keeps."""

import pytest
import torch

from bptrain import nn
from bptrain.monitor.step_monitor import Level, StepMonitor
from bptrain.monitor.watched_engine import WatchedEngine
from bptrain.stateful import Tree
from bptrain.tape import Step
from bptrain.train.gradients import LayerGradients


def monitor_of(
    model: torch.nn.Module, level: Level = "standard", max_overhead: float | None = None
) -> StepMonitor:
    engine = WatchedEngine(Step(model, nn.MSELoss()))
    return StepMonitor(engine, LayerGradients(model), level, max_overhead)


def take_step(monitor: StepMonitor, step: int, is_logged: bool = True) -> bool:
    """Take a step that doubles all weights; return whether it was observed."""
    model = monitor.engine.model
    monitor.before_step(step, 1, is_logged)
    run = monitor.engine.begin((torch.randn(6, 5),), (torch.randn(6, 3),))
    run.forward()
    run.loss()
    run.backward(lambda loss: loss)
    with torch.no_grad():
        torch._foreach_mul_([*model.parameters()], 2.0)
    monitor.after_step(None)
    return bool(monitor.observed.numbers)


def test_logged_steps_are_observed_as_often_as_the_overhead_allows() -> None:
    monitor = monitor_of(nn.Linear(5, 3), max_overhead=0.25)
    seen = []
    for step in range(1, 13):
        if take_step(monitor, step, is_logged=step % 3 == 0):
            seen.append(step)
        monitor.forget()
    assert seen == [3, 9]  # 6 comes too early, and 12 too


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


@pytest.mark.parametrize(
    "state",
    [
        {"last": 0, "numbers": {}, "series": {}},
        {"last": True, "numbers": {}, "series": {}},
        {"last": None, "numbers": {}, "series": {}, "more": 1},
        {"last": 3, "numbers": {"grad/activation/0": 1.0}, "series": {}},
        {"last": 3, "numbers": {"grad/activation/0": torch.ones(2)}, "series": {}},
        {"last": 3, "numbers": {}, "series": {"grad/time/0": torch.ones(())}},
        {"last": 3, "numbers": [], "series": {}},
    ],
)
def test_an_invalid_state_is_refused(state: Tree) -> None:
    with pytest.raises(ValueError, match=r".+"):
        monitor_of(nn.Linear(5, 3)).restore(state)
