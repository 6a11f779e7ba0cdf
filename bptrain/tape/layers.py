"""Which module is running, so that each entry of a record knows its layer, and what it returned."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_leaves

Returned = Callable[[str, Tensor], None]


class Layers:
    """The modules that are running, outermost first.

    returned  is called with the name of each module that ends, and its output; of several outputs
              with the first one
    """

    def __init__(self, names: dict[nn.Module, str], returned: Returned) -> None:
        self.names, self.returned = names, returned
        self._running: list[str] = []

    @property
    def current(self) -> str:
        """The name of the innermost module."""
        return self._running[-1] if self._running else ""

    @contextmanager
    def noted(self, running: Sequence[nn.Module] = ()) -> Iterator[None]:
        """Note inside the block which module is running.

        running  modules that are running already
        """
        self._running = [self.names.get(module, "") for module in running]
        before = register_module_forward_pre_hook(self._enter)
        after = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: nn.Module, *_: Any) -> None:
        self._running.append(self.names.get(module, self.current))

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        name = self._running.pop()
        if module in self.names:
            for first in tree_leaves(output)[:1]:
                if isinstance(first, Tensor):
                    self.returned(name, first)
