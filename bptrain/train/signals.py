"""The stop signals: the first asks the run to save and stop, the second ends the process."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TypeVar

from bptrain.errors import STOP_SIGNALS, BptrainError

STOPPING = tuple(getattr(signal, name) for name in STOP_SIGNALS if hasattr(signal, name))
KEPT_IGNORED = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))

Item = TypeVar("Item")


def is_kept_ignored(number: int) -> bool:
    """Tell whether the process was started with a signal ignored, and is to ignore it."""
    return number in KEPT_IGNORED and signal.getsignal(number) == signal.SIG_IGN


class StopNow(KeyboardInterrupt):
    """Raised where there is nothing to save; `except Exception` does not catch it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number


class StopRequest:
    """Handles the stop signals while entered.

    Inside `noted`, the first signal is only recorded, so that the block can finish its work;
    anywhere else it raises StopNow immediately. A library may turn the StopNow that passes it into
    an error of its own (pydantic does, where it builds a model): that leaves as StopNow again.

    hears_once  whether further signals are ignored: a launcher passes on to its processes what they
                may have received themselves, and ends those that do not stop
    """

    signal_number: int | None = None
    hears_once: bool = False

    def __init__(self) -> None:
        self._is_noted = False
        self._was_raised = False

    def __enter__(self) -> "StopRequest":
        # `nohup` ignores SIGHUP, so that a command outlives its terminal
        handled = [each for each in STOPPING if not is_kept_ignored(each)]
        self._before = {number: signal.signal(number, self._receive) for number in handled}
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._tell_what_was_dropped
        return self

    def _tell_what_was_dropped(self, dropped: "sys.UnraisableHookArgs") -> None:
        """Tell of an error where C code could not raise it, unless it is a stop: that is noted."""
        if not isinstance(dropped.exc_value, StopNow):
            self._hook_before(dropped)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            if self.hears_once:
                return
            # os._exit: no cleanup that could hang; the last checkpoint is complete or absent
            os._exit(128 + number)
        self.signal_number = number
        if not self._is_noted:
            self._was_raised = True
            raise StopNow(number)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Only record the first signal inside the block, which checks `signal_number` itself.

        Raises StopNow at the end of the block if a signal was recorded.
        """
        before, self._is_noted = self._is_noted, True
        try:
            yield
        finally:
            self._is_noted = before
        self._obey()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise StopNow immediately inside the block, even within `noted`."""
        before, self._is_noted = self._is_noted, False
        try:
            self._obey()
            yield
        except Exception as error:  # a library may turn the StopNow that passes it into its own
            self._obey(error)
            raise
        finally:
            self._is_noted = before

    def _obey(self, error: Exception | None = None) -> None:
        if self.signal_number is not None:
            raise StopNow(self.signal_number) from error

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and raise StopNow between two of them once a signal was received."""
        for item in items:
            if self.signal_number is not None:
                raise StopNow(self.signal_number)
            yield item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook_before
        if (
            self._was_raised
            and isinstance(error, Exception)
            and not isinstance(error, BptrainError)
        ):
            self._obey(error)
