"""The tape: a training step recorded once, then run by us, without autograd's engine."""

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
