"""`metrics.jsonl`: one flat JSON object a line, the same numbers as the board."""

import json
import mmap
import os
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import TracebackType

from bptrain.errors import CheckpointError
from bptrain.rundir.appended_file import AppendedFile, changing, truncate


class MetricsFile:
    """Appends a line per logged step, written at once so that a kill loses nothing logged.

    offset         where a resumed run goes on, a `position` from before: the rest is removed
    elapsed_s      the time that the run had taken until then
    missing_bytes  what the file lacks of the offset: lines that are lost

    Raises CheckpointError for an offset that is no number of bytes, and StorageError.
    """

    def __init__(self, path: Path, offset: int | None = None, elapsed_s: float = 0.0) -> None:
        self.missing_bytes = 0 if offset is None else _truncate_to_a_line(path, offset)
        self._file = AppendedFile(path)
        self._started_s = time.perf_counter() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, in all its parts."""
        return time.perf_counter() - self._started_s

    def write(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Append the values of a step; `epoch` is counted from 0.

        JSON has no word for NaN and infinity: they become null, which readers take for NaN.
        """
        finite = {tag: value if isfinite(value) else None for tag, value in values.items()}
        record = {"step": step, "epoch": epoch, "time_s": round(self.elapsed_s, 3), **finite}
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def position(self) -> int:
        """Return the offset at which a run resumed from here goes on; the disk holds it."""
        return self._file.position()

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _truncate_to_a_line(path: Path, offset: int) -> int:
    """Truncate the file to the whole lines before `offset`, and return what is missing."""
    if type(offset) is not int or offset < 0:
        raise CheckpointError(f"the checkpoint's position in {path.name} is no number of bytes")
    size = _whole_lines(path, offset)
    truncate(path, size)
    return offset - size


def _whole_lines(path: Path, offset: int) -> int:
    """Return how many bytes before `offset` are whole lines: the next one must not join a torn one.

    A file cut short by a crash of the machine ends anywhere.
    """
    try:
        with changing(path) as descriptor:
            size = min(offset, os.fstat(descriptor).st_size)
            if size == 0:
                return 0
            with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
                return content.rfind(b"\n") + 1
    except FileNotFoundError:
        return 0
