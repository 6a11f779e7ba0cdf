"""`metrics.jsonl`: one JSON object per line, of numbers and lists of numbers, as on TensorBoard."""

import json
import mmap
import os
import time
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from bptrain.errors import CheckpointError
from bptrain.rundir.appended_file import AppendedFile, changing, truncate
from bptrain.rundir.manifest import read_regular

Value: TypeAlias = float | str | Sequence[float]
LARGEST_BYTES = 2**30  # of a file that is read
LAST_STEP = 10**12  # no run takes more: a larger number is damage


class Lines(NamedTuple):
    """The lines of a file, and the numbers of those that are damaged, counted from 1."""

    read: list[dict[str, Any]]
    damaged: list[int]


def read_lines(path: Path) -> Lines:
    """Return the lines of a file; one that was cut off by a kill, at its end, is left out.

    Raises CheckpointError for a file that cannot be read at all.
    """
    whole, _, _ = read_regular(path, LARGEST_BYTES).rpartition(b"\n")
    lines = Lines([], [])
    for number, text in enumerate(whole.split(b"\n") if whole else (), 1):
        line = _parsed(text)
        if line is None:
            lines.damaged.append(number)
        else:
            lines.read.append(line)
    return lines


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return a line as plain values, None if it is no line of a run's log."""
    try:
        line = json.loads(text.decode())  # of bytes it would guess an encoding
    except (ValueError, RecursionError):
        return None
    step = line.get("step") if isinstance(line, dict) else None
    return line if type(step) is int and 0 <= step <= LAST_STEP else None


class MetricsFile:
    """Appends a line per logged step, unbuffered so that a kill loses none.

    offset         the checkpoint's `position`, where a resumed run continues: the rest is removed;
                   None for a new run, whose file must not exist yet
    elapsed_s      training time of the run until the checkpoint
    missing_bytes  how much shorter than the offset the file is: lines that are lost

    Raises CheckpointError for an invalid offset, and StorageError.
    """

    def __init__(self, path: Path, offset: int | None = None, elapsed_s: float = 0.0) -> None:
        self.missing_bytes = 0 if offset is None else _truncate_to_a_line(path, offset)
        self._file = AppendedFile(path, is_new=offset is None)
        self._started_s = time.perf_counter() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, from its first start and over all resumes."""
        return time.perf_counter() - self._started_s

    def write(self, step: int, epoch: int | None, values: Mapping[str, Value]) -> None:
        """Append the values of a step: numbers, lists of them or texts.

        epoch  counted from 0; None where it is not known

        JSON has no NaN and infinity: they become null, which table readers turn into NaN.
        """
        finite = {tag: _finite(value) for tag, value in values.items()}
        when = {"step": step} if epoch is None else {"step": step, "epoch": epoch}
        record = {**when, "time_s": round(self.elapsed_s, 3), **finite}
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")

    def position(self) -> int:
        """Return the file's size for a checkpoint, once its lines are on disk."""
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


def _finite(value: Value) -> float | str | list[float | None] | None:
    """Return a value without NaN and infinities."""
    if isinstance(value, float | int):
        return value if isfinite(value) else None
    if isinstance(value, str):
        return value
    return [each if isfinite(each) else None for each in value]


def _truncate_to_a_line(path: Path, offset: int) -> int:
    """Truncate the file to the whole lines before `offset`, and return what is missing."""
    if type(offset) is not int or offset < 0:
        raise CheckpointError(f"the checkpoint's position in {path.name} is not a number of bytes")
    size = _whole_lines(path, offset)
    truncate(path, size)
    return offset - size


def _whole_lines(path: Path, offset: int) -> int:
    """Return how many bytes before `offset` are whole lines.

    After a crash of the machine the file may end within a line, which a new line must not extend.
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
