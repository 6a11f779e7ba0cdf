"""Step 4 of the loop: update the weights from their gradients."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.errors import NonFiniteError
from bptrain.tape.layer_gradients import LayerGradients
from bptrain.train.averaging import AveragedWeights
from bptrain.train.buckets import StepSums
from bptrain.train.clipping import Clipping
from bptrain.train.penalty import add_l1_gradients
from bptrain.train.precision import Precision
from bptrain.train.withholding import Withholding


class Change(NamedTuple):
    """What an update did, its tensors still on the device."""

    lr: float
    norms: Tensor  # of the gradients before clipping: the total, then each layer's
    clipped: Tensor  # the same after clipping
    is_skipped: bool = False  # where steps that are not finite are skipped: whether this one was


@dataclass
class Update:
    """Clipping, penalty, optimizer step, learning rate and weight average of a training step.

    batches   number of batches whose gradients are accumulated for one step
    sums      what adds the loss and the gradients over the processes of the run
    searches  whether the optimizer evaluates the loss several times in a step, as L-BFGS does:
              then call `search` instead of the object
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
    sums: StepSums = field(default_factory=StepSums)
    base_lrs: list[float] = field(init=False)
    withholding: Withholding = field(init=False)

    def __post_init__(self) -> None:
        self.withholding = Withholding(self.gradients.parameters[0].device)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]

    def __call__(self, step: int, loss: Tensor) -> Change:
        """Update the weights from the parameters' `.grad`; `step` counts from 0.

        Only the gradient of the loss is clipped: the L1 penalty and weight decay come after. If the
        loss or a gradient is not finite, the update is withheld (see `Withholding`).
        """
        lr = self.set_learning_rate(step)
        self.withholding.begin()
        self.withholding.see_loss(loss)
        self.precision.unscale(self.optimizer, self.withholding)
        norms = self.gradients.norms()
        if not self.precision.scales:  # in fp16 the gradients of a step may overflow
            self.withholding.see_norms(norms[1:])
        clipped = norms if self.clipping is None else self.clipping.clip(self.gradients, norms)
        if self.l1:
            add_l1_gradients(self.gradients.parameters, self.l1)
        is_skipped = self.withholding.is_skipped
        if self.precision.scales or not is_skipped:  # fp16's scaler skips by itself
            self.precision.step(self.optimizer, self.withholding)
        if self.average is not None and not is_skipped:
            self.average.update()
        return Change(lr, norms, clipped, is_skipped)

    def search(self, step: int, loss: Tensor, loss_again: Callable[[], Tensor]) -> Change:
        """Run the optimizer's line search; the parameters' `.grad` are those of `loss`.

        loss        at the current weights
        loss_again  computes loss and gradients of the same batches at the weights being tried
        """
        lr = self.set_learning_rate(step)
        norms = self.gradients.norms()
        self.withholding.begin()
        self.withholding.see_loss(loss)
        self.withholding.see_norms(norms[1:])
        if self.withholding.withheld:  # a search reads the loss on the host too
            return Change(lr, norms, norms, self.withholding.is_skipped)
        known = [loss]  # not computed again
        try:
            self.optimizer.step(lambda: float(known.pop() if known else loss_again()))
        except RuntimeError as error:
            # torch computes the step length as a Python float, whose range exceeds float32's
            if "without overflow" not in str(error):
                raise
            raise NonFiniteError(
                f"the optimizer's line search overflows float32 at step {step + 1}",
                "every longer step decreased the loss, or the loss is no longer meaningful",
                "a smaller optimizer.lr, or another optimizer.kind",
            ) from error
        if self.average is not None:
            self.average.update()
        return Change(lr, norms, norms)

    def set_learning_rate(self, step: int) -> float:
        """Set each group's learning rate for a step, and return the first group's."""
        factor = self.schedule(step)
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base_lr * factor
        return self.base_lrs[0] * factor
