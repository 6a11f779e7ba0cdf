"""Types, descriptions and the base class that the configs of several optimizers share."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from torch import nn

from bptrain.config import StrictConfig
from bptrain.optim.groups import Group, decay_groups, split_by_depth

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


class LayerwiseOptimizer(OptimizerBase):
    """Base class of the optimizers whose learning rate may depend on a layer's depth.

    The subclasses have the fields lr, weight_decay and decay_norm_and_bias.
    """

    if TYPE_CHECKING:
        lr: float
        weight_decay: float
        decay_norm_and_bias: bool

    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="factor on the learning rate from each block of layers to the one before it, "
        "so that early layers change less: 0.65 to 0.9 where pretrained weights are fine-tuned. "
        "null is one rate for all",
    )

    def groups(self, model: nn.Module) -> list[Group]:
        """Return the groups of a model's parameters that are trained."""
        groups = decay_groups(model, self.weight_decay, self.decay_norm_and_bias)
        if self.layer_decay is None:
            return groups
        return split_by_depth(groups, model, self.lr, self.layer_decay)
