"""The updates of a model's weights, whoever makes them: seen by a hook on all optimizers."""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from bptrain.errors import UsageError


class OptimizerSteps:
    """Tells of each step of an optimizer of torch's kind that holds one of the parameters."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], stepped: Callable[[Optimizer], None]
    ) -> None:
        self._parameters, self._stepped = set(parameters), stepped
        self._is_ours: WeakKeyDictionary[Optimizer, bool] = WeakKeyDictionary()
        self._handle = register_optimizer_step_post_hook(self._after)

    def _after(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if optimizer not in self._is_ours:
            held = (p for group in optimizer.param_groups for p in group["params"])
            self._is_ours[optimizer] = any(p in self._parameters for p in held)
        if not self._is_ours[optimizer]:
            return
        if isinstance(optimizer, LBFGS):
            raise UsageError("watch: LBFGS evaluates the loss several times in a step")
        self._stepped(optimizer)

    def remove(self) -> None:
        """Remove the hook."""
        self._handle.remove()
