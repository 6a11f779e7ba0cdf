"""What the configs of several optimizers share: kinds of numbers, their words, and a base."""

from typing import Annotated, ClassVar

from pydantic import Field

from bptrain.config import StrictConfig

Decay = Annotated[float, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[list[Beta], Field(min_length=2, max_length=2)]
Epsilon = Annotated[float, Field(gt=0)]

LR = "learning rate before the schedule"
EPS = "keeps the division finite"
DECAY = "pull of every weight towards zero"
DECAY_ALL = "false keeps weight_decay away from biases and normalization parameters"


class OptimizerBase(StrictConfig):
    """What every optimizer says of itself.

    searches  whether a step calls the model several times: `step` then needs a closure
    """

    searches: ClassVar[bool] = False
