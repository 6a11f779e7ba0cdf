"""The loss of each sample of a batch, of which the loss itself is the mean."""

from copy import deepcopy

import torch
from torch import Tensor

from bptrain.losses.ctc import CTCOfLogits

IGNORED = -100  # the class of a time step that does not count


class EachSample:
    """What a loss would be of each sample alone.

    loss  the module that a config of this package builds
    """

    def __init__(self, loss: torch.nn.Module) -> None:
        self.loss = deepcopy(loss)
        for module in self.loss.modules():
            if hasattr(module, "reduction"):
                vars(module)["reduction"] = "none"  # of any of bptrain.nn's losses

    def __call__(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return the losses [N] of outputs [N, ...]."""
        losses: Tensor = self.loss(outputs, *targets)
        losses = losses.view(len(outputs), -1)
        if isinstance(self.loss, CTCOfLogits):  # its mean is one over the symbols of each text
            counts = targets[2].to(losses.device)
        elif losses.shape[1] > 1 and not targets[0].is_floating_point():
            # a loss for each time step; of class indices that are numbers, for each class
            counts = (targets[0] != IGNORED).view(len(outputs), -1).expand_as(losses).sum(1)
        else:
            return losses.mean(1)
        return losses.sum(1) / counts.clamp(min=1)
