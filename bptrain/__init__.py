"""bptrain: a command-line trainer whose backpropagation is written out by hand."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bptrain.experiment.from_python import fit, load
    from bptrain.nn.convert import conversion, convert, to_torch

__version__ = "0.1.0"
__all__ = ["conversion", "convert", "fit", "load", "to_torch"]


def __getattr__(name: str) -> object:
    """Import one of the names above when it is first asked for: importing torch takes a second."""
    if name in ("conversion", "convert", "to_torch"):
        from bptrain.nn import convert

        return getattr(convert, name)
    if name in ("fit", "load"):
        from bptrain.experiment import from_python

        return getattr(from_python, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
