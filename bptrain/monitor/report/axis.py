"""Axes of charts: limits, and ticks at round numbers."""

from collections.abc import Iterable
from math import ceil, floor, log10
from typing import NamedTuple

from bptrain.monitor.explanation.numbers import number

MOST_TICKS = 6
LARGEST_EXPONENT = 308  # of ten, in float64
WIDE = 50  # how often the smallest number goes into the largest on a logarithmic axis


class Tick(NamedTuple):
    """A tick: its place between 0 and 1, and its label."""

    at: float
    label: str


class Axis(NamedTuple):
    """An axis from `low` to `high`; of a logarithmic one these are exponents of ten."""

    low: float
    high: float
    is_log: bool

    def at(self, value: float) -> float:
        """Return the place of a number, between 0 and 1; beyond the ends it is moved there."""
        if self.is_log:
            value = log10(value) if value > 0 else self.low
        return self._part(value)

    def _part(self, value: float) -> float:
        # halves: the span of two numbers near the largest would overflow
        part = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return min(1.0, max(0.0, part))

    def ticks(self) -> list[Tick]:
        """Return ticks at round numbers."""
        if self.is_log and 1 < self.high - self.low < MOST_TICKS / 3:
            exponents = range(floor(self.low), floor(self.high) + 1)
            parts = [(n + log10(m), m * 10.0**n) for n in exponents for m in (1, 2, 5)]
            return [
                Tick(self._part(at), number(value))
                for at, value in parts
                if self.low <= at <= self.high
            ]
        if self.is_log and self.high - self.low > 1:
            every = ceil((self.high - self.low) / MOST_TICKS)
            exponents = range(ceil(self.low / every) * every, floor(self.high) + 1, every)
            return [Tick(self._part(n), power(n)) for n in exponents]
        low, high = self.low, self.high
        if self.is_log:
            low, high = 10.0**low, 10.0 ** min(high, LARGEST_EXPONENT)
        return [Tick(self.at(value), number(value)) for value in round_numbers(low, high)]

    def whole_ticks(self) -> list[Tick]:
        """Return ticks at round whole numbers, such as steps."""
        whole = [each for each in round_numbers(self.low, self.high) if each == int(each)]
        return [Tick(self.at(value), f"{int(value):,}") for value in whole]


def axis_of(values: Iterable[float], is_log: bool | None = None) -> Axis:
    """Return an axis that holds finite numbers, at least one.

    is_log  None for a logarithmic one where all numbers are positive and far apart
    """
    held = sorted(set(values))
    positive = [value for value in held if value > 0]
    if is_log is None:
        is_log = len(positive) == len(held) and held[-1] / held[0] >= WIDE
    if is_log and positive:
        low, high = log10(positive[0]), log10(positive[-1])
        margin = max(0.04 * (high - low), 0.05)
        return Axis(low - margin, high + margin, is_log=True)
    low, high = held[0], held[-1]
    margin = 0.04 * high - 0.04 * low or 0.05 * abs(high) or 1.0
    return Axis(low - margin, high + margin, is_log=False)


def steps_axis(steps: Iterable[int]) -> Axis:
    """Return the axis of training steps, from the beginning to the last one."""
    return Axis(0, max(1, *steps), is_log=False)


def round_numbers(low: float, high: float) -> list[float]:
    """Return at most MOST_TICKS multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / (MOST_TICKS - 1)
    if not 1e-300 < rough < 1e300:  # beyond, a power of ten is 0 or infinite
        return [low, high]
    unit = 10 ** floor(log10(rough))
    step = next(each * unit for each in (1, 2, 5, 10) if each * unit >= rough * (1 - 1e-9))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def power(exponent: int) -> str:
    """Return a power of ten: as a number where it is short."""
    return f"{10.0**exponent:g}" if -3 <= exponent <= 3 else number(float(f"1e{exponent}"))
