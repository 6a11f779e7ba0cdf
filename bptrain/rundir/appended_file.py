"""A file that is only appended to, and that a resumed run truncates to its checkpoint's size."""

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
    replace_file,
    storing,
    sync_directory,
    write_all,
)


class AppendedFile:
    """Each `write` is stored as a whole when it returns, and not at all when it raises.

    Nothing is buffered: a reader sees a write at once, a kill loses none, and `close` cannot fail
    because of a full disk.

    is_new  whether the file must not exist yet

    Raises StorageError.
    """

    def __init__(self, path: Path, *, is_new: bool) -> None:
        self.path = path
        with storing(path):
            make_directory(path.parent)
            self._descriptor = os.open(path, APPEND | (os.O_EXCL if is_new else 0), 0o666)
            refuse_unless_regular(self._descriptor, path)
            sync_directory(path.parent)

    def write(self, content: bytes) -> None:
        """Append the content."""
        with storing(self.path):
            end = self._size()
            try:
                write_all(self._descriptor, content)
            except OSError:  # a disk that fills up stores a part of it
                os.ftruncate(self._descriptor, end)
                raise

    def position(self) -> int:
        """Return the size in bytes, once the disk holds them."""
        with storing(self.path):
            os.fsync(self._descriptor)
            return self._size()

    def _size(self) -> int:
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:  # removed: what is written now would be lost
            raise StorageError(
                f"{self.path}: was removed while the run was writing it",
                hint="use --resume if the run's checkpoints are still there",
            )
        return status.st_size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def truncate(path: Path, size: int) -> int:
    """Truncate a file to `size` bytes; return how many bytes it is shorter than that.

    A file with a second name (a hard link, such as `cp -al` makes for a backup) is replaced by a
    copy: what is written to the run's file from now on must not change the other one.
    """
    try:
        with changing(path) as descriptor:
            status = os.fstat(descriptor)
            found = status.st_size
            if status.st_nlink > 1:
                with open(descriptor, "rb", closefd=False) as file:
                    replace_file(path, file.read(size))
            elif found > size:
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
            return max(0, size - found)
    except FileNotFoundError:
        return size


@contextmanager
def changing(path: Path) -> Iterator[int]:
    """Open a regular file for reading and changing in place; raises FileNotFoundError."""
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
