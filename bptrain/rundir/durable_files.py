"""The one writer of a run's files: what it has written survives a kill and a power cut.

It writes through no link that somebody has put in the place of a file: new files are created with
O_EXCL and O_NOFOLLOW, and an existing name is replaced by a rename. A folder may be a link, such as
a `runs/` or `checkpoints/` that lies on another disk.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bptrain.errors import StorageError

# O_BINARY: without it Windows writes \r\n for \n. O_NONBLOCK: a pipe is not waited for
_SAFE = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
READ = os.O_RDONLY | _SAFE
CHANGE = os.O_RDWR | _SAFE
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
UNFINISHED = ".unfinished-"


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses inside the block into a StorageError about `path`.

    The block holds the writing alone: an OSError of anything else is not about storage.
    """
    try:
        yield
    except BrokenPipeError:  # a reader of the terminal's lines went away, the disk is well
        raise
    except OSError as error:
        if error.errno == errno.ENOMEM:  # of the host's memory, the disk is well
            raise
        raise StorageError.refused(path, error) from error


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, and wait until the disk holds it."""
    descriptor = os.open(path, CREATE, 0o666)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of the content: one call may take less than it is given."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, so that at any time either the old or the new content is there."""
    unfinished = path.with_name(UNFINISHED + path.name)
    try:
        write_new(unfinished, content)
    except FileExistsError:  # left by a killed run, or put there by somebody
        remove(unfinished)
        write_new(unfinished, content)
    unfinished.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the disk holds the names in a directory."""
    if os.name == "nt":  # NTFS keeps a journal of names, and no directory can be opened
        return
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


def make_own_directory(path: Path) -> None:
    """Create a directory in which a run replaces and cuts files; a link in its place is refused."""
    if path.is_symlink():
        raise StorageError(
            f"{path}: a link", "what it leads to is not the run's to write", "move it away"
        )
    make_directory(path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
