"""Several optimizers as one: each updates its own parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


class CombinedOptimizer(torch.optim.Optimizer):
    """Optimizers over parameters of their own, stepped, scheduled, saved and restored as one.

    All parameter groups are in one list and all state in one mapping, which the optimizers share:
    a change made here, such as to a group's learning rate, takes effect there.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self.optimizers = list(optimizers)
        for each in optimizers:
            self.state.update(each.state)
        self._link_optimizers()

    def _link_optimizers(self) -> None:
        """Point each optimizer at its part of the groups and at the common state."""
        start = 0
        for each in self.optimizers:
            end = start + len(each.param_groups)
            each.param_groups = self.param_groups[start:end]
            each.state = self.state
            start = end

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step each optimizer, after one call of the closure if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.optimizers:
            each.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of optimizers over the same parameters."""
        super().load_state_dict(state_dict)
        self._link_optimizers()  # torch has replaced the lists and the mapping by new ones
