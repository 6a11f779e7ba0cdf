"""Types, descriptions and the base class that the configs of several optimizers share."""

from typing import Annotated, ClassVar

from pydantic import Field

from bptrain.config import StrictConfig

Decay = Annotated[float, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[list[Beta], Field(min_length=2, max_length=2)]
Epsilon = Annotated[float, Field(gt=0)]

LR = "learning rate; the schedule multiplies it by a factor at each step"
EPS = "added to the denominator of the update, so that it is never 0"
DECAY = (
    "weight decay (L2 penalty): weight_decay times each weight is added to its gradient; "
    "0 turns it off"
)
DECAY_DECOUPLED = (
    "decoupled weight decay: each step subtracts lr * weight_decay * weight from each weight; "
    "0 turns it off"
)
DECAY_ALL = (
    "apply weight_decay to biases and normalization parameters too, as torch.optim does; "
    "false applies it to all other weights only"
)
BETAS = (
    "decay rates per step of the running means of the gradient and of its square; the closer to 1, "
    "the longer the average"
)
MOMENTUM = "momentum factor: fraction of the last update added to the next one; 0 turns it off"
NESTEROV = "use Nesterov momentum"


class OptimizerBase(StrictConfig):
    """Base class of the optimizers' configs.

    searches  whether a step evaluates the loss several times: `step` then needs a closure
    """

    searches: ClassVar[bool] = False
