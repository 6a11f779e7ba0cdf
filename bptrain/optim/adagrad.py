"""Adagrad and RMSprop: gradients scaled by the root of the sum or mean of their squares."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from bptrain.optim.eager import eager
from bptrain.optim.options import (
    DECAY,
    DECAY_ALL,
    EPS,
    LR,
    MOMENTUM,
    Beta,
    Decay,
    Epsilon,
    LayerwiseOptimizer,
    LearningRate,
)


class AdagradConfig(LayerwiseOptimizer):
    """Adagrad: each gradient divided by the root of the sum of its squares since the start.

    Source: Duchi, Hazan and Singer 2011, "Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization", figure 1, its diagonal form.
    """

    kind: Literal["adagrad"] = "adagrad"
    lr: LearningRate = Field(default=1e-2, description=LR)
    lr_decay: float = Field(
        default=0.0,
        ge=0,
        description="decay of the learning rate: at step n it is lr / (1 + n * lr_decay). The "
        "default 0 leaves lr to the schedule alone",
    )
    initial_accumulator_value: float = Field(
        default=0.0,
        ge=0,
        description="initial value of the sum of squared gradients; above 0 it damps the first "
        "steps",
    )
    eps: Epsilon = Field(default=1e-10, description=EPS)
    weight_decay: Decay = Field(default=0.0, description=DECAY)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    states: ClassVar[int] = 1  # state tensors per parameter

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; some releases of torch fuse Adagrad on the CPU alone."""
        on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
        return eager(torch.optim.Adagrad)(
            self.groups(model),
            lr=self.lr,
            lr_decay=self.lr_decay,
            initial_accumulator_value=self.initial_accumulator_value,
            eps=self.eps,
            fused=on_cpu,
        )


class RMSpropConfig(LayerwiseOptimizer):
    """RMSprop: each gradient divided by the root of its running mean square.

    Source: Tieleman and Hinton 2012, "Neural Networks for Machine Learning", lecture 6.5.
    """

    kind: Literal["rmsprop"] = "rmsprop"
    lr: LearningRate = Field(default=1e-3, description=LR)
    alpha: Beta = Field(
        default=0.99,
        description="decay rate per step of the running mean of squared gradients; the closer to "
        "1, the longer the average",
    )
    eps: Epsilon = Field(default=1e-8, description=EPS)
    momentum: Beta = Field(default=0.0, description=MOMENTUM)
    weight_decay: Decay = Field(default=0.0, description=DECAY)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    @property
    def states(self) -> int:
        """State tensors per parameter."""
        return 1 + int(self.momentum > 0)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; torch has no fused RMSprop, foreach is its fastest."""
        return eager(torch.optim.RMSprop)(
            self.groups(model),
            lr=self.lr,
            alpha=self.alpha,
            eps=self.eps,
            momentum=self.momentum,
            foreach=True,
        )
