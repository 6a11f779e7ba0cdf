"""Schedules are torch's curves, and stay where they must."""

import json
from collections.abc import Callable
from itertools import pairwise
from math import cos, inf, nan, pi
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from bptrain.optim import ScheduleConfig
from bptrain.optim.one_cycle import OneCycleConfig
from bptrain.optim.plateau import Plateau, PlateauConfig
from bptrain.optim.schedules import (
    ConstantConfig,
    CosineConfig,
    ExponentialConfig,
    MultistepConfig,
    Schedule,
    StepConfig,
)

ALL = get_args(get_args(ScheduleConfig)[0])
EPOCHS, PER_EPOCH = 20, 7
STEPS = EPOCHS * PER_EPOCH


def torchs_curve(make: Callable[[torch.optim.Optimizer], Any], per_step: bool) -> list[float]:
    """Return the learning rate of each step under a scheduler of torch, the base being 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for step in range(1, STEPS + 1):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step < STEPS and (per_step or step % PER_EPOCH == 0):
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("config", "make", "per_step"),
    [
        (StepConfig(every_epochs=3, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 3, 0.5), False),
        (
            MultistepConfig(milestones=[2, 3, 11], gamma=0.3),
            lambda o: lr_scheduler.MultiStepLR(o, [2, 3, 11], 0.3),
            False,
        ),
        (ExponentialConfig(gamma=0.8), lambda o: lr_scheduler.ExponentialLR(o, 0.8), False),
        (
            CosineConfig(final_factor=0.1),
            lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1),
            True,
        ),
        (
            OneCycleConfig(),
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, cycle_momentum=False),
            True,
        ),
        (
            OneCycleConfig(rise_fraction=0.43, initial_divisor=5, final_divisor=20, shape="linear"),
            lambda o: lr_scheduler.OneCycleLR(
                o,
                1.0,
                STEPS,
                pct_start=0.43,
                anneal_strategy="linear",
                cycle_momentum=False,
                div_factor=5,
                final_div_factor=20,
            ),
            True,
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_schedule_is_the_curve_of_torch(
    config: Any, make: Callable[[torch.optim.Optimizer], Any], per_step: bool
) -> None:
    schedule = config.build(STEPS, PER_EPOCH)
    ours = [schedule(step) for step in range(STEPS)]
    assert ours == pytest.approx(torchs_curve(make, per_step), rel=1e-9, abs=1e-12)


def test_constant_is_one() -> None:
    schedule = ConstantConfig().build(100, 10)
    assert {schedule(step) for step in range(100)} == {1.0}


@pytest.mark.parametrize("kind", [each for each in ALL if each is not OneCycleConfig])
def test_the_warm_up_rises_in_equal_steps(kind: type[ConstantConfig]) -> None:
    schedule = kind(warmup_steps=4).build(1000, 500)
    assert [schedule(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_cycle_begins_after_its_warm_up() -> None:
    plain = OneCycleConfig().build(100, 10)
    warmed = OneCycleConfig(warmup_steps=4).build(104, 10)
    assert [warmed(step) for step in range(4)] == pytest.approx(
        [plain(0) * share for share in (0.25, 0.5, 0.75, 1.0)]
    )
    assert [warmed(step + 4) for step in range(100)] == [plain(step) for step in range(100)]


def test_steps_drop_by_epochs() -> None:
    schedule = StepConfig(every_epochs=2, gamma=0.1).build(100, 10)
    assert [schedule(step) for step in (0, 19, 20, 39, 40)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_milestones_are_epochs_and_increase() -> None:
    schedule = MultistepConfig(milestones=[1, 3], gamma=0.1).build(100, 10)
    assert [schedule(step) for step in (9, 10, 29, 30, 99)] == pytest.approx(
        [1, 0.1, 0.1, 0.01, 0.01]
    )
    for milestones in ([3, 1], [2, 2]):
        with pytest.raises(ValueError, match="increase"):
            MultistepConfig(milestones=milestones)


def test_cosine_falls_from_one_to_its_end() -> None:
    schedule = CosineConfig(warmup_steps=10, final_factor=0.1).build(110, 10)
    assert schedule(10) == pytest.approx(1)
    assert schedule(60) == pytest.approx(0.1 + 0.9 * 0.5)
    assert schedule(35) == pytest.approx(0.1 + 0.9 * (1 + cos(pi / 4)) / 2)
    assert schedule(110) == pytest.approx(0.1)
    values = [schedule(step) for step in range(10, 111)]
    assert values == sorted(values, reverse=True)


def test_a_warm_up_longer_than_the_run_still_ends_within_bounds() -> None:
    schedule = CosineConfig(warmup_steps=100).build(10, 10)
    assert [schedule(step) for step in range(10)] == pytest.approx([i / 100 for i in range(1, 11)])


@given(
    rise=st.floats(0.01, 0.99),
    initial=st.floats(1, 1e3),
    final=st.floats(1, 1e6),
    shape=st.sampled_from(["cosine", "linear"]),
    total=st.integers(1, 300),
    warmup=st.integers(0, 40),
)
def test_a_cycle_rises_and_falls_once_between_its_ends_without_a_jump(
    rise: float, initial: float, final: float, shape: Any, total: int, warmup: int
) -> None:
    config = OneCycleConfig(
        rise_fraction=rise,
        initial_divisor=initial,
        final_divisor=final,
        shape=shape,
        warmup_steps=warmup,
    )
    schedule = config.build(warmup + total, 10)
    values = [schedule(warmup + step) for step in range(total)]
    low = 1 / initial / final
    assert all(low * (1 - 1e-12) <= value <= 1 for value in values)
    top = values.index(max(values))
    # a rounding apart: the wave is flat at its ends
    assert all(a <= b + 1e-12 for a, b in pairwise(values[: top + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(values[top:]))
    rises = rise * total > 1  # else the rise is over before the first step
    assert values[0] == pytest.approx(1 / initial if rises else 1)
    if total > 1:
        assert values[-1] == low
        assert schedule(warmup + total + 50) == low
    shorter = min(rise * total - 1, (1 - rise) * total) if rises else total - 1
    steepest = pi / 2 / max(shorter, 1e-9)
    assert all(abs(a - b) <= steepest + 1e-9 for a, b in pairwise(values))


@given(
    kind=st.sampled_from(ALL),
    total=st.integers(1, 500),
    per_epoch=st.integers(1, 100),
    warmup=st.integers(0, 50),
    step=st.integers(0, 600),
)
def test_every_schedule_stays_between_zero_and_the_full_rate(
    kind: type, total: int, per_epoch: int, warmup: int, step: int
) -> None:
    schedule: Schedule = kind(warmup_steps=warmup).build(total, per_epoch)
    assert 0 <= schedule(step) <= 1
    assert schedule(step) == schedule(step)
    if step < warmup:
        assert schedule(step) <= (step + 1) / warmup


def factors_after(schedule: Plateau, losses: list[float]) -> list[float]:
    factors = []
    for loss in losses:
        schedule.observe(loss)
        factors.append(schedule(0))
    return factors


@given(
    losses=st.lists(st.floats(1e-3, 10), max_size=60),
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 4),
    threshold=st.floats(0, 0.3),
    minimum=st.floats(0, 0.5),
)
def test_a_plateau_drops_when_torchs_does(
    losses: list[float], factor: float, patience: int, threshold: float, minimum: float
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, "min", factor, patience, threshold=threshold, min_lr=minimum, eps=0
    )
    ours = PlateauConfig(
        factor=factor, patience=patience, threshold=threshold, minimum=minimum
    ).build(100, 10)
    for loss in losses:
        ours.observe(loss)
        theirs.step(loss)
        assert ours(0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_a_plateau_drops_after_more_bad_losses_than_its_patience() -> None:
    schedule = PlateauConfig(factor=0.5, patience=2, threshold=0.1, minimum=0.2).build(100, 10)
    assert factors_after(schedule, [1.0, 0.95, 0.91, 0.92]) == [
        1,
        1,
        1,
        0.5,
    ]  # none is 10 % below the best
    assert factors_after(schedule, [0.5, 0.6, 0.6, 0.6]) == [0.5, 0.5, 0.5, 0.25]
    assert factors_after(schedule, [nan, nan, inf]) == [
        0.25,
        0.25,
        0.2,
    ]  # and not below the minimum
    assert factors_after(schedule, [-1.0, -1.05, -1.05, -1.05]) == [0.2] * 4
    assert schedule.state() == {"share": 0.2, "best": -1.0, "bad": 0}


def test_a_plateau_starts_with_no_best_loss_also_after_nan() -> None:
    schedule = PlateauConfig(patience=0, factor=0.5).build(100, 10)
    assert schedule(0) == 1
    assert factors_after(schedule, [nan, 1e9, 1e8]) == [0.5, 0.5, 0.5]


def test_a_plateau_warms_up_too() -> None:
    schedule = PlateauConfig(patience=0, factor=0.5, warmup_steps=2).build(100, 10)
    factors_after(schedule, [1.0, 2.0])
    assert [schedule(step) for step in range(3)] == [0.25, 0.5, 0.5]


@given(losses=st.lists(st.floats(0, 1), max_size=20), cut=st.integers(0, 20))
def test_a_restored_plateau_resumes_as_if_never_stopped(losses: list[float], cut: int) -> None:
    config = PlateauConfig(patience=1, factor=0.5)
    whole, first, second = (config.build(100, 10) for _ in range(3))
    factors_after(first, losses[:cut])
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    factors_after(whole, losses[:cut])
    assert factors_after(second, losses[cut:]) == factors_after(whole, losses[cut:])
    assert second.state() == whole.state()


def test_only_the_plateau_watches_the_validation_loss() -> None:
    assert [kind for kind in ALL if kind.watches_validation] == [PlateauConfig]
    for kind in ALL:
        assert isinstance(kind().build(10, 5), Plateau) == kind.watches_validation
