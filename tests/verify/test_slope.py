"""A slope is called wrong where it is one, and never because of kinks around it."""

import math
import random
from collections.abc import Callable

import pytest

from bptrain.verify.slope import STEP, Scale, Slope, numeric_slope

SCALE = Scale(gradient=1.0, terms=1.0)


def is_wrong(slope: Slope, ours: float) -> bool:
    return not slope.is_kink and abs(slope.value - ours) > 1e-7


def relu_at(kink: float) -> Callable[[float], float]:
    return lambda t: math.sin(t) + max(t - kink, 0.0)


@pytest.mark.parametrize(
    "distance", [-1e-3, -1e-5, -4e-6, -2e-6, -1e-8, 1e-12, 1e-7, 2e-6, 3e-6, 1e-2]
)
def test_a_slope_beside_a_kink_is_not_called_wrong(distance: float) -> None:
    ours = 1.0 + (distance < 0)
    assert not is_wrong(numeric_slope(relu_at(distance), ours, SCALE), ours)


@pytest.mark.parametrize("distance", [-1e-3, -1e-5, -2e-6, 2e-6, 1e-5, 1e-2])
def test_an_error_beside_a_kink_is_found(distance: float) -> None:
    ours = 1.001 * (1.0 + (distance < 0))
    assert is_wrong(numeric_slope(relu_at(distance), ours, SCALE), ours)


@pytest.mark.parametrize("seed", range(60))
def test_among_many_kinks_no_right_slope_is_called_wrong(seed: int) -> None:
    draw = random.Random(seed)
    count = draw.choice([1, 2, 3, 5, 30])
    width = STEP * 10 ** draw.uniform(-4, 3)
    kinks = [(draw.uniform(-width, width), draw.gauss(0, 1)) for _ in range(count)]

    def loss(t: float) -> float:
        return math.sin(t) + sum(size * max(t - at, 0.0) for at, size in kinks)

    ours = 1.0 + sum(size for at, size in kinks if at < 0)
    assert not is_wrong(numeric_slope(loss, ours, SCALE), ours)


@pytest.mark.parametrize("error", [1e-5, 1e-3, 1.0, math.nan, math.inf])
@pytest.mark.parametrize("loss", [math.sin, math.exp, lambda t: t * t + t, math.tanh])
def test_an_error_of_a_smooth_loss_is_found(loss: Callable[[float], float], error: float) -> None:
    slope = numeric_slope(loss, 1.0 + error, SCALE)
    assert not slope.is_kink
    assert slope.value == pytest.approx(1.0)


@pytest.mark.parametrize("ours", [-0.5, 1.5])
def test_outside_of_the_slopes_of_both_sides_of_a_kink_is_said(ours: float) -> None:
    slope = numeric_slope(lambda t: max(t, 0.0), ours, SCALE)
    assert slope.is_kink
    assert slope.is_outside


def test_a_jump_has_no_slope() -> None:
    assert numeric_slope(lambda t: float(t > 0), 0.0, SCALE).is_kink


def test_a_strong_curve_is_no_error() -> None:
    length = 3e-4  # as of a normalization of almost equal values
    slope = numeric_slope(lambda t: length * math.tanh(t / length + 0.5), 0.786447732965927, SCALE)
    assert slope == Slope(pytest.approx(0.786447732965927, abs=1e-7))
