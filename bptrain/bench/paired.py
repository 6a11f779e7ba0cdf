"""Paired timing on a noisy machine: the alternatives alternate, ratios are taken within a turn."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch


@dataclass(frozen=True)
class Timings:
    """Seconds of each alternative, turn by turn."""

    seconds: Mapping[str, list[float]]

    def ratios(self, name: str, to: str) -> list[float]:
        """Return `to`'s seconds over `name`'s, turn by turn: how many times faster `name` is."""
        return [b / a for a, b in zip(self.seconds[name], self.seconds[to], strict=True)]


def time_in_turns(alternatives: Mapping[str, Callable[[], object]], turns: int) -> Timings:
    """Time each alternative once a turn, after one turn of warm-up that does not count.

    Every second turn runs in reverse order: what one alternative leaves in the processor's caches
    is not always found by the same other one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    order = list(alternatives.items())
    for turn in range(turns + 1):
        order.reverse()
        for name, work in order:
            started_s = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn > 0:
                seconds[name].append(time.perf_counter() - started_s)
    return Timings(seconds)


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
