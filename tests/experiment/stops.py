"""Ways in which a run is stopped in a test's own process."""

import signal
from collections.abc import Callable

Stop = Callable[[], None]


class Killed(BaseException):
    """The process was killed: no error handler may catch it."""


def kill() -> None:
    """End the run as a kill does: nothing is saved."""
    raise Killed


def ask() -> None:
    """Ask this process to stop."""
    signal.raise_signal(signal.SIGTERM)
