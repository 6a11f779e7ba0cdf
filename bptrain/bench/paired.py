"""Paired timing on a noisy machine: the alternatives alternate, ratios are taken within a turn."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from statistics import median, quantiles

import torch


@dataclass(frozen=True)
class Timings:
    """Seconds of each alternative, turn by turn."""

    seconds: Mapping[str, list[float]]

    def ratios(self, name: str, to: str) -> list[float]:
        """Return `to`'s seconds over `name`'s, turn by turn: how many times faster `name` is."""
        return [b / a for a, b in zip(self.seconds[name], self.seconds[to], strict=True)]


def time_in_turns(
    alternatives: Mapping[str, Callable[[], object]],
    turns: int,
    untimed: Mapping[str, Callable[[], object]] | None = None,
) -> Timings:
    """Time each alternative once a turn, after one turn of warm-up that does not count.

    untimed  what runs before some of them each time, so that the processor's caches hold their own
             data and not that of the one before

    The order is drawn anew at each turn, and is the same in each process.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    order, draw = list(alternatives), Random(0)  # noqa: S311  no secret
    for turn in range(turns + 1):
        draw.shuffle(order)
        for name in order:
            if untimed and name in untimed:
                untimed[name]()
            started_s = _now()
            alternatives[name]()
            ended_s = _now()
            if turn > 0:
                seconds[name].append(ended_s - started_s)
    return Timings(seconds)


def _now() -> float:
    """Return the time in seconds once the device has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def median_and_quartiles(values: list[float]) -> str:
    """Return the median and the quartiles as text."""
    low, _, high = quantiles(values, n=4)
    return f"{median(values):.3g} ({low:.3g} to {high:.3g}, n = {len(values)})"


def machine() -> str:
    """Return what the numbers were measured on."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
