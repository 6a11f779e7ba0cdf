"""Withhold the update of a step whose loss or gradients are not finite, without a wait.

Whether they are is known on the device, and the host reads it only for a log line. Fused optimizers
take the flag as they take fp16's, and then change nothing. So the weights at the log line are those
that the first such step began with, and it can be repeated.
"""

import torch
from torch import Tensor


class Withholding:
    """Whether updates are withheld.

    each_step  whether the next step is free to update again, and the host reads the flag in each
               step: to skip such steps. By default all later updates are withheld too
    """

    def __init__(self, device: torch.device) -> None:
        self.each_step = False
        self._zeros = torch.zeros(1, device=device)
        self._seen = torch.zeros((), device=device)  # 0 times all that was seen: NaN for good

    def begin(self) -> None:
        """Begin a step."""
        if self.each_step:
            self.release()

    def see_loss(self, loss: Tensor) -> None:
        """Take the step's loss into account, a scalar."""
        self._seen.add_(loss.detach(), alpha=0)

    def see_norms(self, norms: Tensor) -> None:
        """Take gradient norms into account [n], float32."""
        if len(self._zeros) != len(norms):
            self._zeros = torch.zeros_like(norms)
        self._seen += self._zeros @ norms

    @property
    def nothing(self) -> Tensor:
        """NaN where updates are withheld, else 0; a scalar on the device."""
        return self._seen

    @property
    def withheld(self) -> Tensor:
        """1 from the first step on that is not finite, 0 before; a scalar on the device."""
        return self._seen.isnan().float()

    @property
    def is_skipped(self) -> bool:
        """Whether the step is to be skipped, where the host decides; a wait for the device."""
        return self.each_step and bool(self.withheld)

    def release(self) -> None:
        """Let later steps update the weights."""
        self._seen = torch.zeros_like(self._seen)
