"""A lock, so that one process trains in a run directory; the system releases it at its end."""

import errno
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from bptrain.errors import CheckpointError, RunInUseError, StorageError
from bptrain.rundir.durable_files import CHANGE, storing, write_all
from bptrain.rundir.manifest import read_regular

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = "lock"
LARGEST_OWNER = 4096  # bytes
UNNAMED = "the lock file does not say which process it is"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock inside the block, or raise RunInUseError naming the owner.

    The file `lock` is not removed at the end: otherwise two processes could hold locks on two
    files of that name. Child processes do not inherit the lock.
    """
    path = run_dir / LOCK
    lock = _acquire(path)
    try:
        _write_owner(path)
        yield
    finally:
        lock.release()


def owner_of(run_dir: Path) -> str:
    """Return which process trains in a run's folder, "" if none does."""
    if not os.path.lexists(run_dir / LOCK):
        return ""
    try:
        lock = _acquire(run_dir / LOCK)
    except RunInUseError as error:
        return error.why
    except StorageError:  # a folder that may only be read, in which no run can be training either
        return ""
    lock.release()
    return ""


def _acquire(path: Path) -> "BaseFileLock":
    from filelock import FileLock, Timeout  # here: it takes 0.1 s to import, only `fit` needs it

    with storing(path):
        path.parent.stat()  # or FileLock would create a missing folder
    if os.path.lexists(path) and not S_ISREG(path.lstat().st_mode):
        raise StorageError(f"{path}: not a regular file", "it holds the run's lock", "remove it")
    lock = FileLock(path, timeout=0, mode=0o666, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunInUseError(
            f"{path.parent}: another process trains in it",
            _owner_of(path),
            "wait until it ends or stop it, or choose another folder with --run-dir",
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise StorageError.refused(path, error) from error
        raise StorageError(
            f"{path}: cannot be locked",
            f"its file system has no locks ({error.strerror}): two runs could overwrite each other",
            "choose a folder on a local disk with --run-dir",
        ) from error
    return lock


def _write_owner(path: Path) -> None:
    """Write this process's line into the lock file, for the error message of a second process."""
    if os.name == "nt":  # a locked file can be neither read nor written there
        return
    with storing(path):
        descriptor = os.open(path, CHANGE)
        try:
            if os.fstat(descriptor).st_nlink > 1:  # it is also a file of another name, a backup's
                return
            os.ftruncate(descriptor, 0)
            write_all(descriptor, _owner())
        finally:
            os.close(descriptor)


def _owner_of(path: Path) -> str:
    """Return a description of the process that holds a lock, as the file gives it."""
    try:
        return _described(read_regular(path, LARGEST_OWNER))
    except CheckpointError:
        return UNNAMED


def _owner() -> bytes:
    owner = {
        "pid": os.getpid(),
        "host": platform.node(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv)[:1000],
    }
    return json.dumps(owner).encode() + b"\n"


def _described(content: bytes) -> str:
    """Return a description of the owner; UNNAMED if the file holds anything else."""
    try:
        owner = json.loads(content)
        text = "process {pid} on {host}, since {started}: {command}".format_map(owner)
    except (ValueError, KeyError, TypeError, RecursionError):
        return UNNAMED
    return "".join(letter if letter.isprintable() else "?" for letter in text)
