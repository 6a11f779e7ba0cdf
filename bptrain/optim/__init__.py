"""Optimizers and learning-rate schedules: each config class stands beside what it builds."""

from typing import Annotated

from pydantic import Field

from bptrain.optim.optimizers import AdamConfig, AdamWConfig, RMSpropConfig, SGDConfig
from bptrain.optim.schedules import ConstantConfig, CosineConfig, Schedule, StepConfig

OptimizerConfig = Annotated[
    SGDConfig | AdamConfig | AdamWConfig | RMSpropConfig, Field(discriminator="kind")
]
ScheduleConfig = Annotated[ConstantConfig | StepConfig | CosineConfig, Field(discriminator="kind")]

__all__ = ["OptimizerConfig", "Schedule", "ScheduleConfig"]
