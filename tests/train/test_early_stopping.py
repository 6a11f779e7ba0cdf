"""Early stopping: when a loss counts as smaller, and how long a run waits."""

import json
from math import inf, nan

import pytest

from bptrain.train.early_stopping import EarlyStopping, EarlyStoppingConfig


def stops_at(losses: list[float], patience: int, min_delta: float = 0.0) -> int | None:
    """Return the evaluation after which the run stops, counted from 1."""
    rule = EarlyStoppingConfig(patience=patience, min_delta=min_delta).build()
    return next((n for n, loss in enumerate(losses, start=1) if rule.observe(loss)), None)


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([3, 2, 1, 0.5, 0.1], 1, None),
        ([3, 2, 2], 1, 3),
        ([3, 2, 2.5, 2.1, 1.9, 2, 2, 2], 3, 8),  # 1.9 begins the wait anew
        ([3, 2, 2.5, 2.4, 2.3], 3, 5),  # falling, but never below the least
        ([1, nan, inf, 0.5, nan, nan], 3, None),
        ([nan, nan], 2, 2),
    ],
)
def test_a_run_stops_after_so_many_evaluations_without_a_smaller_loss(
    losses: list[float], patience: int, expected: int | None
) -> None:
    assert stops_at(losses, patience) == expected


def test_a_decrease_within_min_delta_is_none() -> None:
    falling_slowly = [1 - 0.01 * n for n in range(10)]
    assert stops_at(falling_slowly, patience=3) is None
    assert stops_at(falling_slowly, patience=3, min_delta=0.02) is None  # below 0.98, in 3 steps
    assert stops_at(falling_slowly, patience=3, min_delta=0.05) == 4
    assert stops_at([1.0, 0.5, 0.0], patience=1, min_delta=0.5) == 2  # exactly min_delta


@pytest.mark.parametrize("seen", [[], [nan], [2.0, 3.0], [2.0, 3.0, 1.0]])
def test_restored_early_stopping_waits_as_long_as_the_saved_one(seen: list[float]) -> None:
    config = EarlyStoppingConfig(patience=3)
    first, second = EarlyStopping(config), EarlyStopping(config)
    for loss in seen:
        first.observe(loss)
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    coming = [1.5, 2.0, 2.0, 2.0]
    assert [first.observe(loss) for loss in coming] == [second.observe(loss) for loss in coming]
