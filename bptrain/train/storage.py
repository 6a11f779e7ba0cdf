"""Writing that survives a power cut, and file-system errors in the user's words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bptrain.errors import StorageError


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses inside the block into a StorageError about `path`."""
    try:
        yield
    except BrokenPipeError:  # a reader of the terminal's lines went away, the disk is well
        raise
    except OSError as error:
        raise StorageError.refused(path, error) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk holds it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk holds the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
