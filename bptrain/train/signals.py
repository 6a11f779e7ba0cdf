"""SIGINT and SIGTERM: the first asks the run to save and stop, the second ends it at once."""

import os
import signal
from types import FrameType, TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, remembers the first stop signal instead of dying of it."""

    signal_number: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._receive) for number in STOPPING}
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            # os._exit: no cleanup that could hang; the last checkpoint is complete or absent
            os._exit(128 + number)
        self.signal_number = number

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
