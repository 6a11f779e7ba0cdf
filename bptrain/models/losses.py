"""Losses of classification: logits [N, K] against class indices [N]."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain import nn
from bptrain.config import StrictConfig
from bptrain.problem import Problem


class CrossEntropyConfig(StrictConfig):
    """Softmax and negative log-likelihood."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of each label spread over all classes"
    )

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss module."""
        return nn.CrossEntropyLoss(label_smoothing=self.label_smoothing)


class OneHotMSE(torch.nn.Module):
    """Mean squared error of the outputs [N, K] against the one-hot vector of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.mse = nn.MSELoss()

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of outputs [N, K] against class indices [N]."""
        one_hot = torch.zeros_like(input).scatter_(1, target.unsqueeze(1), 1)
        loss: Tensor = self.mse(input, one_hot)
        return loss


class MSEConfig(StrictConfig):
    """Mean squared error against one-hot labels: slower to learn from than cross_entropy."""

    kind: Literal["mse"] = "mse"

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss module."""
        return OneHotMSE()
