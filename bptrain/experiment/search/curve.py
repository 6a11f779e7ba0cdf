"""A validation metric of a run that another process trains, read from its metrics.jsonl."""

import time
from pathlib import Path

from bptrain.errors import CheckpointError
from bptrain.monitor.run_log import METRICS
from bptrain.monitor.verdicts.history import is_number
from bptrain.rundir.metrics_file import read_lines

READING_SHARE = 0.05  # of the time, at most: the file of a long run is large


class Curve:
    """The metric after each validation so far."""

    def __init__(self, run_dir: Path, tag: str) -> None:
        self.path, self.tag = run_dir / METRICS, tag
        self.values: list[float] = []
        self._size = 0
        self._next_s = 0.0

    def read(self, at_once: bool = False) -> list[float]:
        """Return the values, read anew if the file has changed and that takes little of the time.

        A resumed run removes lines and writes them again: then there are fewer for a moment.
        """
        began = time.monotonic()
        size = self.path.stat().st_size if self.path.exists() else 0
        if size and (at_once or (size != self._size and began >= self._next_s)):
            try:
                lines = read_lines(self.path).read
            except CheckpointError:  # removed or replaced in this moment
                return self.values
            self.values = [line[self.tag] for line in lines if is_number(line.get(self.tag))]
            self._size = size
            now = time.monotonic()
            self._next_s = now + (now - began) / READING_SHARE
        return self.values
