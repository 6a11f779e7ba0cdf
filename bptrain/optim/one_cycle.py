"""One-cycle: the learning rate rises to a high peak, then falls to almost nothing."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal

from pydantic import Field

from bptrain.optim.schedules import Schedule, WarmUpConfig


class OneCycleConfig(WarmUpConfig):
    """After the warm-up, a rise to the learning rate and a long fall to almost nothing.

    Source: Smith and Topin 2018, "Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates", in the two phases that torch's OneCycleLR has. Only the learning rate is
    scheduled: the momentum, which the paper lowers as the learning rate rises, stays constant.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    rise_fraction: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="fraction of the steps after the warm-up in which the learning rate rises",
    )
    initial_divisor: float = Field(
        default=25.0, ge=1, description="the cycle starts at lr / initial_divisor"
    )
    final_divisor: float = Field(
        default=1e4, ge=1, description="the cycle ends at lr / (initial_divisor * final_divisor)"
    )
    shape: Literal["cosine", "linear"] = Field(
        default="cosine",
        description="curve of the rise and of the fall: half a cosine wave (cosine) or a straight "
        "line (linear)",
    )

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        cycle = max(1, total_steps - self.warmup_steps)
        first = 1 / self.initial_divisor
        last = first / self.final_divisor
        peak = max(0.0, self.rise_fraction * cycle - 1)  # need not be a whole step
        end = max(cycle - 1.0, peak)
        shape = SHAPES[self.shape]

        def factor(step: int) -> float:
            position = min(end, max(0, step - self.warmup_steps))
            if position < peak:
                return self.warm(step) * _between(first, 1, shape(position / peak))
            return self.warm(step) * _between(
                1, last, shape((position - peak) / (end - peak or 1.0))
            )

        return factor


def _between(start: float, stop: float, progress: float) -> float:
    # start + (stop - start) progress would cancel where stop is tiny, and miss the last rate
    return start * (1 - progress) + stop * progress


def _cosine(progress: float) -> float:
    return (1 - cos(pi * progress)) / 2


def _linear(progress: float) -> float:
    return progress


SHAPES: dict[str, Callable[[float], float]] = {"cosine": _cosine, "linear": _linear}
