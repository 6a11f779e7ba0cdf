"""A file that is only appended to, and that a resumed run truncates to where its checkpoint was."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG

from bptrain.errors import StorageError
from bptrain.rundir.durable_files import (
    APPEND,
    CHANGE,
    make_directory,
    storing,
    sync_directory,
    write_all,
)


class AppendedFile:
    """Holds the whole of each write when `write` returns, and nothing of it when it raises.

    Nothing is buffered: a reader sees a write at once, a kill loses none, and `close` has nothing
    left to store that a full disk could refuse. Raises StorageError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storing(path):
            make_directory(path.parent)
            self._descriptor = os.open(path, APPEND, 0o666)
            refuse_unless_regular(self._descriptor, path)
            sync_directory(path.parent)

    def write(self, content: bytes) -> None:
        """Append the content."""
        with storing(self.path):
            end = self._size()
            try:
                write_all(self._descriptor, content)
            except OSError:  # a disk that fills up takes a part
                os.ftruncate(self._descriptor, end)
                raise

    def position(self) -> int:
        """Return the size in bytes, once the disk holds them."""
        with storing(self.path):
            os.fsync(self._descriptor)
            return self._size()

    def _size(self) -> int:
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:  # what is written now, nobody would ever see
            raise StorageError(
                f"{self.path}: was removed while the run was writing it",
                hint="use --resume if the run's checkpoints are still there",
            )
        return status.st_size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def truncate(path: Path, size: int) -> int:
    """Remove what lies behind the first `size` bytes; return how many of these are missing."""
    try:
        with changing(path) as descriptor:
            found = os.fstat(descriptor).st_size
            if found > size:
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
            return max(0, size - found)
    except FileNotFoundError:
        return size


@contextmanager
def changing(path: Path) -> Iterator[int]:
    """Open a regular file of the run to be read and changed in place; raises FileNotFoundError."""
    try:
        descriptor = os.open(path, CHANGE)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError.refused(path, error) from error
    try:
        refuse_unless_regular(descriptor, path)
        with storing(path):
            yield descriptor
    finally:
        os.close(descriptor)


def refuse_unless_regular(descriptor: int, path: Path) -> None:
    """Raise StorageError for an open pipe or device."""
    if not S_ISREG(os.fstat(descriptor).st_mode):
        raise StorageError(f"{path}: not a regular file", hint="move it away")
