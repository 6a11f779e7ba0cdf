"""Adam, AdamW, NAdam and RAdam from torch.optim, with its fused kernel where it has one."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from bptrain.optim.eager import eager
from bptrain.optim.options import (
    BETAS,
    DECAY,
    DECAY_ALL,
    DECAY_DECOUPLED,
    EPS,
    LR,
    Betas,
    Decay,
    Epsilon,
    LayerwiseOptimizer,
    LearningRate,
)

DECOUPLED = (
    "decouple weight_decay from the gradient, as adamw does; by default it is added to the gradient"
)


class AdamBase(LayerwiseOptimizer):
    """Base class of the Adam variants: running means of the gradient and of its square."""

    lr: LearningRate = Field(default=1e-3, description=LR)
    betas: Betas = Field(default=[0.9, 0.999], description=BETAS)
    eps: Epsilon = Field(default=1e-8, description=EPS)

    states: ClassVar[int] = 2  # state tensors per parameter

    @property
    def _pair(self) -> tuple[float, float]:
        return self.betas[0], self.betas[1]


class AdamConfig(AdamBase):
    """Adam: a step size for each weight, from the mean and square of its gradients.

    Source: Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    kind: Literal["adam"] = "adam"
    weight_decay: Decay = Field(default=0.0, description=DECAY)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return eager(torch.optim.Adam)(
            self.groups(model),
            lr=self.lr,
            betas=self._pair,
            eps=self.eps,
            fused=True,
        )


class AdamWConfig(AdamBase):
    """Adam with weight decay decoupled from the gradient.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """

    kind: Literal["adamw"] = "adamw"
    weight_decay: Decay = Field(default=0.01, description=DECAY_DECOUPLED)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return eager(torch.optim.AdamW)(
            self.groups(model),
            lr=self.lr,
            betas=self._pair,
            eps=self.eps,
            fused=True,
        )


class NAdamConfig(AdamBase):
    """Adam with Nesterov momentum.

    Source: Dozat 2016, "Incorporating Nesterov Momentum into Adam".
    """

    kind: Literal["nadam"] = "nadam"
    lr: LearningRate = Field(default=2e-3, description=LR)
    momentum_decay: float = Field(
        default=4e-3,
        ge=0,
        description="how fast the momentum rises from half of the first beta to all of it; 0 "
        "keeps it at half",
    )
    weight_decay: Decay = Field(default=0.0, description=DECAY)
    decoupled_weight_decay: bool = Field(default=False, description=DECOUPLED)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; torch has no fused NAdam, foreach is its fastest."""
        return eager(torch.optim.NAdam)(
            self.groups(model),
            lr=self.lr,
            betas=self._pair,
            eps=self.eps,
            momentum_decay=self.momentum_decay,
            decoupled_weight_decay=self.decoupled_weight_decay,
            foreach=True,
        )


class RAdamConfig(AdamBase):
    """Adam whose adaptive step size is used only once its variance is small: no warm-up needed.

    Source: Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond",
    algorithm 2.
    """

    kind: Literal["radam"] = "radam"
    weight_decay: Decay = Field(default=0.0, description=DECAY)
    decoupled_weight_decay: bool = Field(default=False, description=DECOUPLED)
    decay_norm_and_bias: bool = Field(default=True, description=DECAY_ALL)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer; torch has no fused RAdam, foreach is its fastest."""
        return eager(torch.optim.RAdam)(
            self.groups(model),
            lr=self.lr,
            betas=self._pair,
            eps=self.eps,
            decoupled_weight_decay=self.decoupled_weight_decay,
            foreach=True,
        )
