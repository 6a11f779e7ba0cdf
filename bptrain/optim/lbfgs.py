"""L-BFGS: each step takes a quasi-Newton direction and searches along it for a step length.

A step evaluates the loss and its gradient several times, on one batch. Small batches and dropout
make these evaluations inconsistent: L-BFGS is for small problems, best with all data in one batch.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from bptrain.optim.eager import eager
from bptrain.optim.options import LearningRate, OptimizerBase


class LBFGSConfig(OptimizerBase):
    """Limited-memory BFGS: the curvature is estimated from the last steps.

    It has no weight decay. Source: Liu and Nocedal 1989, "On the limited memory BFGS method for
    large scale optimization", algorithm 2.1; the line search is Nocedal and Wright 2006,
    "Numerical Optimization", algorithms 3.5 and 3.6.
    """

    kind: Literal["lbfgs"] = "lbfgs"
    lr: LearningRate = Field(
        default=1.0,
        description="learning rate: the first step length that the line search tries, or every "
        "step length if line_search is null; the schedule multiplies it",
    )
    iterations: int = Field(
        default=20,
        ge=1,
        le=10_000,
        description="maximum number of iterations (directions) per optimizer step",
    )
    history: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="number of past updates that the curvature is estimated from; each needs "
        "memory for two copies of the weights",
    )
    line_search: Literal["strong_wolfe"] | None = Field(
        default="strong_wolfe",
        description="how the step length is found: strong_wolfe (the default), or null to always "
        "use lr",
    )
    tolerance_grad: float = Field(
        default=1e-7,
        ge=0,
        description="a step ends when the largest absolute gradient is at most this",
    )
    tolerance_change: float = Field(
        default=1e-9,
        ge=0,
        description="a step ends when the loss or every weight changes by less than this",
    )

    searches: ClassVar[bool] = True

    @property
    def states(self) -> int:
        """State tensors per parameter once the history is full."""
        return 2 * self.history + 2  # the direction and the last gradient

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer, whose `step` needs a closure that returns the loss."""
        return eager(torch.optim.LBFGS)(
            model.parameters(),
            lr=self.lr,
            max_iter=self.iterations,
            history_size=self.history,
            line_search_fn=self.line_search,
            tolerance_grad=self.tolerance_grad,
            tolerance_change=self.tolerance_change,
        )
