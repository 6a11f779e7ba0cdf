"""Durable writing: files that survive a kill and a power cut once a call has returned.

Symbolic links in the place of a file are never followed: new files are created with O_EXCL and
O_NOFOLLOW, and an existing file is replaced by a rename. A folder may be a link, such as `runs/`
or `checkpoints/` on another disk.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bptrain.errors import StorageError

# O_BINARY: without it Windows writes \r\n for \n. O_NONBLOCK: opening a pipe does not block
_SAFE = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
READ = os.O_RDONLY | _SAFE
CHANGE = os.O_RDWR | _SAFE
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
UNFINISHED = ".unfinished-"


@contextmanager
def storing(path: Path, instead: str = "choose another folder with --run-dir") -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError about `path`.

    instead  what the message proposes

    Put only file operations into the block: other OSErrors are not about storage.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of stdout ended; not a storage error
        raise
    except OSError as error:
        if error.errno == errno.ENOMEM:  # out of memory; not a storage error
            raise
        raise StorageError.refused(path, error, instead) from error


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, and wait until it is on disk."""
    write_parts(path, [content])


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that does not exist yet, part by part, and wait until it is on disk."""
    descriptor = os.open(path, CREATE, 0o666)
    try:
        for part in parts:
            write_all(descriptor, part)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of the content: one `os.write` may write only a part."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, so that at any time either the old or the new content is there.

    Where that is refused, as on a full disk, no unfinished copy is left.
    """
    unfinished = path.with_name(UNFINISHED + path.name)
    if os.path.lexists(unfinished):  # left by a killed run, or created by someone else
        remove(unfinished)
    try:
        write_new(unfinished, content)
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the entries of a directory are on disk."""
    if os.name == "nt":  # NTFS journals names, and directories cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems can sync only files; nothing more can be done for names there
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, so that they survive a power cut."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def make_own_directory(path: Path) -> None:
    """Create a directory whose files the run may overwrite; raise StorageError for a link."""
    if path.is_symlink():
        raise StorageError(
            f"{path}: a link", "the run does not write outside its own folder", "move it away"
        )
    make_directory(path)


def remove(path: Path) -> None:
    """Remove a file, a folder with its contents, or a link (but not its target)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
