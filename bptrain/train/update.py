"""Step 4: from gradients to new weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.errors import NonFiniteError
from bptrain.train.averaging import AveragedWeights
from bptrain.train.clipping import Clipping
from bptrain.train.gradients import LayerGradients
from bptrain.train.penalty import add_l1_gradients
from bptrain.train.precision import Precision


class Change(NamedTuple):
    """What an update did, its tensors still on the device."""

    lr: float
    norms: Tensor  # of the gradients before clipping: the total, then each layer's
    clipped: Tensor  # scalar: the total after clipping


@dataclass
class Update:
    """How gradients change the weights.

    batches   whose gradients are accumulated for one step
    searches  whether the optimizer asks for the loss at several weights in a step, as L-BFGS
              does: `search` then takes the place of a call
    """

    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]  # step counted from 0 -> factor on the learning rate
    gradients: LayerGradients
    precision: Precision
    batches: int = 1
    searches: bool = False
    clipping: Clipping | None = None
    l1: float = 0.0
    average: AveragedWeights | None = None
    base_lrs: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]

    def __call__(self, step: int) -> Change:
        """Move the weights by the gradients that stand in the parameters; `step` counts from 0.

        Clipping bounds the gradient of the loss alone: the L1 penalty and weight decay come after.
        """
        lr = self.set_learning_rate(step)
        self.precision.unscale(self.optimizer)
        norms = self.gradients.norms()
        clipped = norms[0] if self.clipping is None else self.clipping.clip(self.gradients, norms)
        if self.l1:
            add_l1_gradients(self.gradients.parameters, self.l1)
        self.precision.step(self.optimizer)
        if self.average is not None:
            self.average.update()
        return Change(lr, norms, clipped)

    def search(self, step: int, loss: Tensor, loss_again: Callable[[], Tensor]) -> Change:
        """Let the optimizer search along the loss, whose gradients stand in the parameters.

        loss        at the weights as they are
        loss_again  computes loss and gradients of the same batches at the weights tried
        """
        lr = self.set_learning_rate(step)
        norms = self.gradients.norms()
        known = [loss]  # not computed again
        try:
            self.optimizer.step(lambda: float(known.pop() if known else loss_again()))
        except RuntimeError as error:
            # torch computes the next length in Python's numbers, which go further than float32
            if "without overflow" not in str(error):
                raise
            raise NonFiniteError(
                f"the optimizer's search goes beyond the largest number at step {step + 1}",
                "each length that it tried made the loss less, or the loss is no guide any more",
                "a smaller optimizer.lr, or another optimizer.kind",
            ) from error
        if self.average is not None:
            self.average.update()
        return Change(lr, norms, norms[0])

    def set_learning_rate(self, step: int) -> float:
        """Set each group's learning rate for a step, and return the first group's."""
        factor = self.schedule(step)
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base_lr * factor
        return self.base_lrs[0] * factor
