"""Learning-rate schedules: pure functions of the optimizer step, so a step can be repeated."""

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from math import cos, pi
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from bptrain.config import StrictConfig

Schedule = Callable[[int], float]  # step, counted from 0 -> factor on the learning rate


class WarmUpConfig(StrictConfig):
    """Base class of the schedules' configs: a linear warm-up before the schedule.

    watches_validation  whether the built schedule has an `observe`, to be called with each
                        validation loss
    """

    watches_validation: ClassVar[bool] = False

    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=10**9,
        description="optimizer steps over which the learning rate first rises linearly from near "
        "0 to its full value; the default 0 is no warm-up",
    )

    def warm(self, step: int) -> float:
        """Return the factor of an n-step warm-up: 1/n at step 0, 1 from step n - 1 on."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


class ConstantConfig(WarmUpConfig):
    """The same learning rate at every step."""

    kind: Literal["constant"] = "constant"

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        return self.warm


class StepConfig(WarmUpConfig):
    """Multiply the learning rate by gamma every `every_epochs` epochs."""

    kind: Literal["step"] = "step"
    every_epochs: int = Field(default=10, ge=1, le=10**6, description="epochs between two drops")
    gamma: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="factor by which each drop multiplies the learning rate",
    )

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        every = self.every_epochs * steps_per_epoch
        return lambda step: self.warm(step) * self.gamma ** (step // every)


class MultistepConfig(WarmUpConfig):
    """Multiply the learning rate by gamma at each milestone."""

    kind: Literal["multistep"] = "multistep"
    milestones: list[Annotated[int, Field(ge=1, le=10**6)]] = Field(
        default=[10, 15],
        min_length=1,
        max_length=1000,
        description="epochs after which the learning rate drops, in increasing order",
    )
    gamma: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="factor by which each drop multiplies the learning rate",
    )

    @model_validator(mode="after")
    def _milestones_increase(self) -> "MultistepConfig":
        if any(a >= b for a, b in pairwise(self.milestones)):
            raise ValueError(f"milestones must increase, but are {self.milestones}")
        return self

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""

        def factor(step: int) -> float:
            drops = bisect_right(self.milestones, step // steps_per_epoch)
            return self.warm(step) * self.gamma**drops

        return factor


class ExponentialConfig(WarmUpConfig):
    """Multiply the learning rate by gamma after every epoch; within an epoch it is constant."""

    kind: Literal["exponential"] = "exponential"
    gamma: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="factor by which the learning rate is multiplied after each epoch",
    )

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        return lambda step: self.warm(step) * self.gamma ** (step // steps_per_epoch)


class CosineConfig(WarmUpConfig):
    """Half a cosine wave down from the full learning rate, after the warm-up.

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """

    kind: Literal["cosine"] = "cosine"
    final_factor: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="learning rate at the last step, as a fraction of lr; the default 0 ends at 0",
    )

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        falling = max(1, total_steps - self.warmup_steps)

        def factor(step: int) -> float:
            progress = min(1.0, max(0.0, (step - self.warmup_steps) / falling))
            wave = (1 + cos(pi * progress)) / 2
            return self.warm(step) * (self.final_factor + (1 - self.final_factor) * wave)

        return factor
