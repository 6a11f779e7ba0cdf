"""Losses of numbers that grow with the absolute error, and so are robust to outliers."""

from typing import Literal

import torch
from pydantic import Field

from bptrain import nn
from bptrain.losses.loss_config import BaseLossConfig
from bptrain.problem import Problem


class L1Config(BaseLossConfig):
    """Mean absolute error: an outlier counts in proportion to its distance."""

    kind: Literal["l1"] = "l1"

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        return nn.L1Loss()


class SmoothL1Config(BaseLossConfig):
    """Absolute error, with a parabola for small errors."""

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: float = Field(
        default=1.0,
        ge=0,
        le=1e6,
        description="error, in units of the (scaled) target, below which the loss is a parabola",
    )

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        return nn.SmoothL1Loss(beta=self.beta)


class HuberConfig(BaseLossConfig):
    """Squared error up to `delta`, absolute beyond."""

    kind: Literal["huber"] = "huber"
    delta: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        description="error, in units of the (scaled) target, above which the loss is linear",
    )

    def build(self, problem: Problem) -> torch.nn.Module:
        """Return the loss."""
        return nn.HuberLoss(delta=self.delta)
