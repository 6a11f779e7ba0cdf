"""SHA-256 of the first bytes of files that only grow: a resumed run finds what changed in them."""

import hashlib
import os
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from bptrain.rundir.durable_files import READ

BLOCK = 2**20


class Reading(NamedTuple):
    """A hash of the first `size` bytes of a file."""

    hash: "hashlib._Hash"
    size: int


class FileDigests:
    """Digests of files; of one that has grown only the new bytes are read."""

    def __init__(self) -> None:
        self._readings: dict[Path, Reading] = {}

    def of(self, path: Path, size: int) -> str | None:
        """Return the digest of the first `size` bytes; None if the file has fewer, or is none."""
        reading = self._readings.get(path, Reading(hashlib.sha256(), 0))
        if reading.size > size:
            reading = Reading(hashlib.sha256(), 0)
        try:
            descriptor = os.open(path, READ)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                return None
            file.seek(reading.size)
            left = size - reading.size
            while left and (block := file.read(min(BLOCK, left))):
                reading.hash.update(block)
                left -= len(block)
        self._readings[path] = Reading(reading.hash, size - left)
        return None if left else reading.hash.hexdigest()
