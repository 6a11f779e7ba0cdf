"""Optimizers: torch.optim's arithmetic, fused into one kernel where torch has one."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from bptrain.config import StrictConfig

Decay = Annotated[float, Field(ge=0)]
LearningRate = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]

LR = "learning rate before the schedule"
DECAY = "pull of every weight towards zero"


class SGDConfig(StrictConfig):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    lr: LearningRate = Field(default=0.1, description=LR)
    momentum: Beta = Field(default=0.9, description="share of the last update carried on")
    nesterov: bool = Field(default=False, description="look ahead along the momentum")
    weight_decay: Decay = Field(default=0.0, description=DECAY)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGDConfig":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    @property
    def states(self) -> int:
        """Tensors kept for each parameter."""
        return int(self.momentum > 0)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )


class AdamBase(StrictConfig):
    """What Adam and AdamW share."""

    lr: LearningRate = Field(default=1e-3, description=LR)
    betas: Annotated[list[Beta], Field(min_length=2, max_length=2)] = Field(
        default=[0.9, 0.999], description="decay of the gradient's mean and of its square"
    )
    eps: float = Field(default=1e-8, gt=0, description="keeps the division finite")

    states: ClassVar[int] = 2  # tensors kept for each parameter


class AdamConfig(AdamBase):
    """Adam: a step size for each weight, from the mean and square of its gradients."""

    kind: Literal["adam"] = "adam"
    weight_decay: Decay = Field(default=0.0, description=DECAY)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(
            parameters,
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


class AdamWConfig(AdamBase):
    """Adam with weight decay apart from the gradient."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: Decay = Field(default=0.01, description=DECAY)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.AdamW(
            parameters,
            lr=self.lr,
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


class RMSpropConfig(StrictConfig):
    """RMSprop: each gradient divided by the root of its running mean square."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: LearningRate = Field(default=1e-3, description=LR)
    alpha: Beta = Field(default=0.99, description="decay of the mean square")
    eps: float = Field(default=1e-8, gt=0, description="keeps the division finite")
    momentum: Beta = Field(default=0.0, description="share of the last update carried on")
    weight_decay: Decay = Field(default=0.0, description=DECAY)

    @property
    def states(self) -> int:
        """Tensors kept for each parameter."""
        return 1 + int(self.momentum > 0)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer; torch has no fused RMSprop, foreach is its fastest."""
        return torch.optim.RMSprop(
            parameters,
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            foreach=True,
        )
