"""Learning-rate schedules: pure functions of the optimizer step, so that any step can be redone."""

from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from math import cos, pi
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from bptrain.config import StrictConfig

Schedule = Callable[[int], float]  # step, counted from 0 -> factor on the learning rate


class WarmUpConfig(StrictConfig):
    """What every schedule shares: a linear rise before it.

    watches_validation  whether what it builds wants to be told each validation loss
    """

    watches_validation: ClassVar[bool] = False

    warmup_steps: int = Field(
        default=0, ge=0, le=10**9, description="steps of linear rise to the full learning rate"
    )

    def warm(self, step: int) -> float:
        """Return the rise's factor: 1/n at step 0 of n, 1 from step n - 1 on."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


class ConstantConfig(WarmUpConfig):
    """The same learning rate at every step."""

    kind: Literal["constant"] = "constant"

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        return self.warm


class StepConfig(WarmUpConfig):
    """The learning rate times gamma after every so many epochs."""

    kind: Literal["step"] = "step"
    every_epochs: int = Field(default=10, ge=1, le=10**6, description="epochs between two drops")
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor of each drop")

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        every = self.every_epochs * steps_per_epoch
        return lambda step: self.warm(step) * self.gamma ** (step // every)


class MultistepConfig(WarmUpConfig):
    """The learning rate times gamma at each milestone."""

    kind: Literal["multistep"] = "multistep"
    milestones: list[Annotated[int, Field(ge=1, le=10**6)]] = Field(
        default=[10, 15], min_length=1, max_length=1000, description="epochs done before each drop"
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor of each drop")

    @model_validator(mode="after")
    def _milestones_rise(self) -> "MultistepConfig":
        if any(a >= b for a, b in pairwise(self.milestones)):
            raise ValueError(f"milestones rise from one to the next, {self.milestones} do not")
        return self

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""

        def factor(step: int) -> float:
            drops = bisect_right(self.milestones, step // steps_per_epoch)
            return self.warm(step) * self.gamma**drops

        return factor


class ExponentialConfig(WarmUpConfig):
    """The learning rate times gamma after every epoch; within an epoch it stays."""

    kind: Literal["exponential"] = "exponential"
    gamma: float = Field(default=0.95, gt=0, le=1, description="factor of each epoch")

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        return lambda step: self.warm(step) * self.gamma ** (step // steps_per_epoch)


class CosineConfig(WarmUpConfig):
    """Half a cosine wave from the full learning rate down, after the warm-up.

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """

    kind: Literal["cosine"] = "cosine"
    final_factor: float = Field(
        default=0.0, ge=0, le=1, description="share of the learning rate left at the last step"
    )

    def build(self, total_steps: int, steps_per_epoch: int) -> Schedule:
        """Return the factor of each step."""
        falling = max(1, total_steps - self.warmup_steps)

        def factor(step: int) -> float:
            progress = min(1.0, max(0.0, (step - self.warmup_steps) / falling))
            wave = (1 + cos(pi * progress)) / 2
            return self.warm(step) * (self.final_factor + (1 - self.final_factor) * wave)

        return factor
