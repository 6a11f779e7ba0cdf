"""L-BFGS: a step searches along a direction that gradients and steps before it have bent.

It asks for the loss and its gradient several times in a step, on one batch. Batches that are a
small part of the data, and dropout, make the answers contradict each other: it is for small
problems, best with the whole data as one batch.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from bptrain.optim.eager import eager
from bptrain.optim.options import LearningRate, OptimizerBase


class LBFGSConfig(OptimizerBase):
    """Limited-memory BFGS: curvature learned from the last steps; each step searches.

    It knows no weight decay. Source: Liu and Nocedal 1989, "On the limited memory BFGS method for
    large scale optimization", algorithm 2.1; the line search is Nocedal and Wright 2006,
    "Numerical Optimization", algorithms 3.5 and 3.6.
    """

    kind: Literal["lbfgs"] = "lbfgs"
    lr: LearningRate = Field(default=1.0, description="first step length tried, before schedule")
    iterations: int = Field(
        default=20, ge=1, le=10_000, description="directions searched in one step, at most"
    )
    history: int = Field(
        default=100, ge=1, le=10_000, description="past directions kept, two tensors for each"
    )
    line_search: Literal["strong_wolfe"] | None = Field(
        default="strong_wolfe", description="how far to go in a direction; null is always lr"
    )
    tolerance_grad: float = Field(
        default=1e-7, ge=0, description="a step ends where the largest gradient is below it"
    )
    tolerance_change: float = Field(
        default=1e-9, ge=0, description="a step ends where weights or loss change by less"
    )

    searches: ClassVar[bool] = True

    @property
    def states(self) -> int:
        """Tensors kept for each parameter once the history is full."""
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
