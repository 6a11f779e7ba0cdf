"""bptrain: a command-line trainer whose backpropagation is written out by hand."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bptrain.api.experiments import (
        check,
        compare,
        explain,
        measure_step,
        starter_config,
        step_program,
        suggest_lr,
        validate,
    )
    from bptrain.api.fitting import fit, import_weights, load
    from bptrain.nn.convert import conversion, convert, to_torch

__version__ = "0.1.0"
__all__ = [
    "check",
    "compare",
    "conversion",
    "convert",
    "explain",
    "fit",
    "import_weights",
    "load",
    "measure_step",
    "starter_config",
    "step_program",
    "suggest_lr",
    "to_torch",
    "validate",
]


def __getattr__(name: str) -> object:
    """Import one of the names above when it is first asked for: importing torch takes a second."""
    if name in ("conversion", "convert", "to_torch"):
        from bptrain.nn import convert

        return getattr(convert, name)
    if name in ("fit", "import_weights", "load"):
        from bptrain.api import fitting

        return getattr(fitting, name)
    if name in __all__:
        from bptrain.api import experiments

        return getattr(experiments, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
