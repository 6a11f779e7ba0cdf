"""What a run shows: metrics file, TensorBoard, terminal, verdicts; for any model, `watch`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bptrain.monitor.watcher import Watcher, watch

__all__ = ["Watcher", "watch"]


def __getattr__(name: str) -> object:
    """Import `watch` when it is first asked for: commands import single files of this package."""
    if name in __all__:
        from bptrain.monitor import watcher

        return getattr(watcher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
