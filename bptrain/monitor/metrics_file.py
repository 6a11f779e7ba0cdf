"""`metrics.jsonl`: one flat JSON object a line, the same numbers as the board."""

import json
import time
from pathlib import Path
from types import TracebackType


class MetricsFile:
    """Appends a line per logged step, flushed at once so that a kill loses nothing logged."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._started_s = time.perf_counter()

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Append the values of a step; `epoch` is counted from 0."""
        time_s = round(time.perf_counter() - self._started_s, 3)
        record = {"step": step, "epoch": epoch, "time_s": time_s, **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
