"""Writing that survives a power cut, and file-system errors in the user's words."""

import errno
import os
import shutil
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
        if error.errno == errno.ENOMEM:  # of the host's memory, the disk is well
            raise
        raise StorageError.refused(path, error) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk holds it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        rest = memoryview(content)
        while rest:  # a write may take less than it is given
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it: the old content or the new, at any time."""
    unfinished = path.with_name(f".unfinished-{path.name}")
    write_durably(unfinished, content)
    unfinished.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the disk holds the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems sync files alone; names are then as safe as they get there
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and those above it where they are missing, to stay after a power cut."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
