"""Which module is running, so that each entry of a record knows its layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


class Layers:
    """The modules that are running, outermost first."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        self.names = names
        self._running: list[str] = []

    @property
    def current(self) -> str:
        """The name of the innermost module."""
        return self._running[-1] if self._running else ""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note inside the block which module is running."""
        before = register_module_forward_pre_hook(self._enter)
        after = register_module_forward_hook(self._leave)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: nn.Module, *_: Any) -> None:
        self._running.append(self.names.get(module, self.current))

    def _leave(self, *_: Any) -> None:
        self._running.pop()
