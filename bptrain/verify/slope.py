"""The derivative of a loss along a line, from values of the loss alone, and whether there is one.

The central difference D(h) = (L(h) - L(-h)) / 2h errs by h^2 L'''/6 and by the rounding of L, about
1e-16 |L| / h: the first step, h = 6e-6, the cube root of 1e-16, makes both about 1e-10.

A kink (ReLU at 0, two equal values under a max) between -h and h spoils it. It shows: where the
loss is smooth, half the step gives the same slope, and the one-sided slopes differ by h L'', half
as much at half the step:

    unexplained(h) = |D(h) - D(h/2)| + |S(h) - 2 S(h/2)|,   S(h) = (L(h) - 2 L(0) + L(-h)) / h

A gradient is right if it agrees with D(h) at one of the steps, wrong if it differs by far more than
what is unexplained, and otherwise cannot be compared there: the element is at a kink, or the loss
too coarsely rounded. A gradient that is right differs by at most twice what one kink leaves
unexplained, wherever that kink is, and by 4/3 of what curvature does.
"""

from collections.abc import Callable
from functools import cache
from math import inf, isfinite
from typing import NamedTuple

STEP = 6e-6
# A near kink falls out of a smaller step. A larger one sees a slope through the noise of a forward
# pass that amplifies rounding, as the normalization of almost constant values does.
STEPS = (1.0, 1e-1, 1e-2, 1e-3, 3e1, 1e3)  # factors on STEP
TOLERANCE = 1e-7  # a hundred times the error above; a missing term errs by 1e-2 or more
ROUNDING = 1e-15  # of a loss that sums many terms, relative to its size
CERTAIN = 100  # a difference is an error beyond this many times what is unexplained, and
COARSE = 10  # beyond this many times the rounding
STAYS = 0.1  # of a jump: by how much the slopes of a kink's sides may change with the step
JUMP = 1e-4  # of the scale: slopes left and right that differ by more are a kink's, not a curve's


class Scale(NamedTuple):
    """What errors are relative to."""

    gradient: float  # the size of the gradients around an element
    terms: float  # the size of what the loss sums up, of which each number has its rounding
    step: float = 1.0  # the size of the element


class Slope(NamedTuple):
    """The numeric derivative at one element."""

    value: float
    is_kink: bool = False  # nothing can be compared
    is_outside: bool = False  # at a kink, and our gradient is not between the slopes of its sides


def numeric_slope(along: Callable[[float], float], ours: float, scale: Scale) -> Slope:
    """Return the derivative of the loss `along` a line, at distance 0, to compare `ours` with."""
    middle = cache(lambda: along(0.0))  # not computed where the first step agrees, as most do
    slope = 0.0
    for factor in STEPS:
        h = factor * STEP * scale.step
        above, below = along(h), along(-h)
        slope = (above - below) / (2 * h)
        rounding = ROUNDING * max(abs(above), abs(below), scale.terms) / h
        error = abs(slope - ours) if isfinite(ours) else inf
        if error <= TOLERANCE * scale.gradient:
            return Slope(slope)
        if error <= TOLERANCE * scale.gradient + rounding:
            return Slope(ours)  # nothing can be told apart from the rounding of the loss
        bend = (above - 2 * middle() + below) / h
        unexplained = _unexplained(along, h, middle(), slope, bend)
        if error > CERTAIN * unexplained + COARSE * rounding and isfinite(slope):
            return Slope(slope)
    return _at_a_kink(along, middle(), ours, scale)


def _unexplained(
    along: Callable[[float], float], h: float, middle: float, slope: float, bend: float
) -> float:
    """Return by how much the slopes differ from those at half the step, but for curvature."""
    above, below = along(h / 2), along(-h / 2)
    half_slope, half_bend = (above - below) / h, (above - 2 * middle + below) / (h / 2)
    return abs(slope - half_slope) + abs(bend - 2 * half_bend)


def _at_a_kink(along: Callable[[float], float], middle: float, ours: float, scale: Scale) -> Slope:
    """Return the slope of an element that stands at a kink, or near some."""
    h = STEP * STEPS[1] * scale.step
    left, right = (middle - along(-h)) / h, (along(h) - middle) / h
    half_left, half_right = (
        (middle - along(-h / 2)) / (h / 2),
        (along(h / 2) - middle) / (h / 2),
    )
    low, high = sorted((left, right))
    jump = high - low
    stays = max(abs(left - half_left), abs(right - half_right)) <= STAYS * jump
    is_exact = jump > JUMP * scale.gradient and stays  # at 0 itself, not somewhere around it
    margin = max(JUMP * scale.gradient, STAYS * jump)
    is_outside = is_exact and not low - margin <= ours <= high + margin
    return Slope((left + right) / 2, is_kink=True, is_outside=is_outside)
