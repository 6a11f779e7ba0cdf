"""Several optimizers as one: each updates its share of the parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


class CombinedOptimizer(torch.optim.Optimizer):
    """Optimizers over parameters of their own, stepped, scheduled, saved and restored as one.

    The groups and the state of all of them lie in one list and one mapping, which the optimizers
    see too: what is changed here, such as a group's learning rate, is changed there.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for each in optimizers for group in each.param_groups], {})
        self.optimizers = list(optimizers)
        for each in optimizers:
            self.state.update(each.state)
        self._share()

    def _share(self) -> None:
        """Let each optimizer see its part of the groups, and the common state."""
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
        """Take up a state of optimizers over the same parameters."""
        super().load_state_dict(state_dict)
        self._share()  # torch has put new lists and a new mapping in place of the old ones
