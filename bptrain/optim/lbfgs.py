"""L-BFGS: a step searches along a direction that gradients and steps before it have bent.

It asks for the loss and its gradient several times in a step, on one batch. Batches that are a
small part of the data, and dropout, make the answers contradict each other: it is for small
problems, best with the whole data as one batch.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bptrain.optim.options import LearningRate, OptimizerBase

HISTORY = ("old_dirs", "old_stps", "ro")  # lists of tensors in torch's state
SCRATCH = "al"  # written anew in every step before it is read


class LBFGS(torch.optim.LBFGS):
    """torch.optim.LBFGS whose saved state is tensors alone, so that a checkpoint can hold it."""

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state, with each list as one tensor and each number as a scalar."""
        saved = super().state_dict()
        return {**saved, "state": {key: packed(each) for key, each in saved["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state that `state_dict` returned."""
        states = {key: unpacked(each) for key, each in state_dict["state"].items()}
        super().load_state_dict({**state_dict, "state": states})


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
        return LBFGS(
            model.parameters(),
            lr=self.lr,
            max_iter=self.iterations,
            history_size=self.history,
            line_search_fn=self.line_search,
            tolerance_grad=self.tolerance_grad,
            tolerance_change=self.tolerance_change,
        )


def packed(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return a state of numbers, tensors and lists of tensors as tensors."""
    tensors = {}
    for name, value in state.items():
        if name in HISTORY:
            tensors[name] = torch.stack(value) if value else torch.empty(0)
        elif isinstance(value, float):
            tensors[name] = torch.tensor(value, dtype=torch.float64)
        elif name != SCRATCH:
            tensors[name] = torch.as_tensor(value)
    return tensors


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return what `packed` was given; a scalar tensor comes back as the number that it held."""
    state: dict[str, Any] = {}
    for name, value in tensors.items():
        if name in HISTORY:
            # a copy each: a view of the stack would keep all of it when the row is dropped
            state[name] = [row.clone() for row in value]
        else:
            state[name] = value if value.dim() else value.item()
    return state
