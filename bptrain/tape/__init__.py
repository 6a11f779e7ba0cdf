"""The tape: a training step recorded once, then run by us, without autograd's engine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bptrain.tape.notices import Notices
    from bptrain.tape.observing import Observer, observed_run
    from bptrain.tape.own_loop import record
    from bptrain.tape.recorder import OffTapeError
    from bptrain.tape.run import Autograd, Engine, Run
    from bptrain.tape.step import Step

__all__ = [
    "Autograd",
    "Engine",
    "Notices",
    "Observer",
    "OffTapeError",
    "Run",
    "Step",
    "observed_run",
    "record",
]


def __getattr__(name: str) -> object:
    """Import the tape when one of the names above is first asked for: a config needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bptrain.tape import notices, observing, own_loop, recorder, run, step

    modules = (notices, observing, own_loop, recorder, run, step)
    return next(getattr(module, name) for module in modules if hasattr(module, name))
