"""Losses of numbers, applied to classes by one-hot targets."""

import torch
from torch import Tensor


class OneHot(torch.nn.Module):
    """A loss of numbers [N, K] against the one-hot vector of each class."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of outputs [N, K] against classes [N] or probabilities [N, K]."""
        if not target.is_floating_point():
            target = torch.zeros_like(input).scatter_(1, target.unsqueeze(1), 1)
        loss: Tensor = self.loss(input, target)
        return loss
