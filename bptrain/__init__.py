"""bptrain: a command-line trainer whose backpropagation is written out by hand."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bptrain.nn.convert import conversion, convert, to_torch

__version__ = "0.1.0"
__all__ = ["conversion", "convert", "to_torch"]


def __getattr__(name: str) -> object:
    """Import one of the names above when it is first asked for: importing torch takes a second."""
    if name in ("conversion", "convert", "to_torch"):
        from bptrain.nn import convert as offering
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(offering, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
