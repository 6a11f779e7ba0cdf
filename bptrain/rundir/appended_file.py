"""A file that is only appended to, and that a resumed run cuts back to where its checkpoint was."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bptrain.errors import StorageError


class AppendedFile:
    """Holds the whole of each write when `write` returns, and nothing of it when it raises.

    Nothing is buffered: a reader sees a write at once, a kill loses none, and `close` has nothing
    left to store that a full disk could refuse. Raises StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            _sync_directory(path.parent)

    def write(self, content: bytes) -> None:
        """Append the content."""
        with _storing(self.path):
            end = self._size()
            left = memoryview(content)
            try:
                while left:
                    left = left[self._file.write(left) :]  # a disk that fills up takes a part
            except OSError:
                self._file.truncate(end)
                raise

    def position(self) -> int:
        """Return the size in bytes, once the disk holds them."""
        with _storing(self.path):
            os.fsync(self._file.fileno())
            return self._size()

    def _size(self) -> int:
        status = os.fstat(self._file.fileno())
        if status.st_nlink == 0:  # what is written now, nobody would ever see
            raise StorageError(
                f"{self.path}: was removed while the run was writing it",
                hint="go on with --resume if the run's checkpoints are still there",
            )
        return status.st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cut_back(path: Path, size: int) -> int:
    """Remove what lies behind the first `size` bytes; return how many of these are missing."""
    if not path.exists():
        return size
    with _storing(path), path.open("r+b") as file:
        found = os.fstat(file.fileno()).st_size
        if found > size:
            file.truncate(size)
            os.fsync(file.fileno())
        return max(0, size - found)


def _sync_directory(path: Path) -> None:
    """Wait until the disk holds the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError.refused(path, error) from error
