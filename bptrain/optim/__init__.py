"""Optimizers and learning-rate schedules: each config class is in the module of what it builds."""

from typing import Annotated

from pydantic import Field

from bptrain.optim.adagrad import AdagradConfig, RMSpropConfig
from bptrain.optim.adam import AdamConfig, AdamWConfig, NAdamConfig, RAdamConfig
from bptrain.optim.lbfgs import LBFGSConfig
from bptrain.optim.muon import MuonConfig
from bptrain.optim.one_cycle import OneCycleConfig
from bptrain.optim.plateau import Plateau, PlateauConfig
from bptrain.optim.schedules import (
    ConstantConfig,
    CosineConfig,
    ExponentialConfig,
    MultistepConfig,
    Schedule,
    StepConfig,
)
from bptrain.optim.sgd import SGDConfig

OptimizerConfig = Annotated[
    SGDConfig
    | AdamConfig
    | AdamWConfig
    | NAdamConfig
    | RAdamConfig
    | RMSpropConfig
    | AdagradConfig
    | LBFGSConfig
    | MuonConfig,
    Field(discriminator="kind"),
]
ScheduleConfig = Annotated[
    ConstantConfig
    | StepConfig
    | MultistepConfig
    | ExponentialConfig
    | CosineConfig
    | OneCycleConfig
    | PlateauConfig,
    Field(discriminator="kind"),
]

__all__ = ["OptimizerConfig", "Plateau", "Schedule", "ScheduleConfig"]
