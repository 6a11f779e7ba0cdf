"""SIGINT and SIGTERM: the first asks the run to save and stop, the second ends it at once."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TypeVar

NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Ctrl-Break, on Windows alone
STOPPING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))

Item = TypeVar("Item")


class StopNow(KeyboardInterrupt):
    """Raised where there is nothing to finish; no `except Exception` on its way may swallow it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number


class StopRequest:
    """While entered, receives the stop signals in place of Python.

    Where there is something to finish, `noted` lets the first signal be remembered alone; anywhere
    else it raises StopNow on the spot.
    """

    signal_number: int | None = None

    def __init__(self) -> None:
        self._is_noted = False

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._receive) for number in STOPPING}
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            # os._exit: no cleanup that could hang; the last checkpoint is complete or absent
            os._exit(128 + number)
        self.signal_number = number
        if not self._is_noted:
            raise StopNow(number)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Let the first signal be remembered inside the block; whoever is in it looks for it.

        Raises StopNow at the end of the block for one that nobody has seen.
        """
        before, self._is_noted = self._is_noted, True
        try:
            yield
        finally:
            self._is_noted = before
        self._obey()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise StopNow on the spot inside the block, although it lies in `noted`."""
        before, self._is_noted = self._is_noted, False
        try:
            self._obey()
            yield
        finally:
            self._is_noted = before

    def _obey(self) -> None:
        if self.signal_number is not None:
            raise StopNow(self.signal_number)

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass the items on, and raise StopNow between two of them once a signal has come."""
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
