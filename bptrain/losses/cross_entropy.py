"""Cross-entropy: softmax and negative log-likelihood of classes."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain import nn
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.problem import Problem


class CrossEntropyConfig(BaseLossConfig):
    """Softmax and negative log-likelihood."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of each label that is spread evenly over all classes; above 0, such as "
        "0.1, it keeps the network from becoming overconfident",
    )

    accepts_probabilities = True

    @property
    def is_likelihood(self) -> bool:
        """Whether it is the mean negative log-likelihood of the classes that count."""
        return self.label_smoothing == 0

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss of logits."""
        loss = nn.CrossEntropyLoss(label_smoothing=self.label_smoothing)
        return loss if problem.output_kind.per == "sample" else EachStep(loss)

    def outputs_of(self, shares: Tensor) -> Tensor:
        """Return the logits of the shares, smoothed as the labels are."""
        smoothing = self.label_smoothing
        return ((1 - smoothing) * shares + smoothing / len(shares)).log()


class EachStep(torch.nn.Module):
    """A loss of samples [N, K] and [N], over every time step of [N, T, K] and [N, T]."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss, each time step a sample of its own."""
        # views of a contiguous output: [N * T, K] and [N * T]
        loss: Tensor = self.loss(input.flatten(0, 1), target.flatten())
        return loss
