"""One-cycle: a learning rate that rises far above what would be safe to start with, and falls."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal

from pydantic import Field

from bptrain.optim.schedules import Schedule, WarmUpConfig


class OneCycleConfig(WarmUpConfig):
    """A rise to the learning rate and a long fall to almost nothing, after the warm-up.

    Source: Smith and Topin 2018, "Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates", in the two phases that torch's OneCycleLR has. The learning rate alone
    moves: the momentum, which the paper lets fall and rise against it, is left as it is.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    rise_fraction: float = Field(
        default=0.3, gt=0, lt=1, description="share of the steps that rise"
    )
    initial_divisor: float = Field(
        default=25.0, ge=1, description="the first step has the learning rate divided by this"
    )
    final_divisor: float = Field(
        default=1e4, ge=1, description="the last step has the first one's divided by this"
    )
    shape: Literal["cosine", "linear"] = Field(
        default="cosine", description="of the rise and of the fall"
    )

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        cycle = max(1, total_steps - self.warmup_steps)
        first = 1 / self.initial_divisor
        last = first / self.final_divisor
        peak = max(0.0, self.rise_fraction * cycle - 1)  # need not be a whole step
        end = max(cycle - 1.0, peak)
        way = SHAPES[self.shape]

        def factor(step: int) -> float:
            place = min(end, max(0, step - self.warmup_steps))
            if place < peak:
                return self.warm(step) * _between(first, 1, way(place / peak))
            return self.warm(step) * _between(1, last, way((place - peak) / (end - peak or 1.0)))

        return factor


def _between(start: float, stop: float, progress: float) -> float:
    # start + (stop - start) progress would cancel where stop is tiny, and miss the last rate
    return start * (1 - progress) + stop * progress


def _half_wave(progress: float) -> float:
    return (1 - cos(pi * progress)) / 2


def _line(progress: float) -> float:
    return progress


SHAPES: dict[str, Callable[[float], float]] = {"cosine": _half_wave, "linear": _line}
