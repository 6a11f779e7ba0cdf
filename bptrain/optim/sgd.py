"""Stochastic gradient descent: torch.optim's fused kernel."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from bptrain.optim.eager import eager
from bptrain.optim.options import (
    DECAY,
    DECAY_ALL,
    LR,
    MOMENTUM,
    NESTEROV,
    Beta,
    Decay,
    LayerwiseOptimizer,
    LearningRate,
)


class SGDConfig(LayerwiseOptimizer):
    """Stochastic gradient descent.

    Source: Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and
    momentum in deep learning", with the learning rate outside the momentum as torch has it.
    """

    kind: Literal["sgd"] = "sgd"
    lr: LearningRate = Field(default=0.1, description=LR)
    momentum: Beta = Field(default=0.9, description=MOMENTUM)
    nesterov: bool = Field(default=False, description=NESTEROV + "; needs momentum above 0")
    weight_decay: Decay = Field(default=0.0, description=DECAY)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGDConfig":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @property
    def states(self) -> int:
        """State tensors per parameter."""
        return int(self.momentum > 0)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return eager(torch.optim.SGD)(
            self.groups(model),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            fused=True,
        )
