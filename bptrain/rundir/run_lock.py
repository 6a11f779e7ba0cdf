"""One run directory, one process: a lock that the kernel releases however its owner ends."""

import errno
import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG

from bptrain.errors import RunInUseError, StorageError
from bptrain.rundir.durable_files import storing

LOCK = "lock"
LARGEST_OWNER = 4096  # bytes
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock inside the block, or raise RunInUseError naming the owner.

    The lock is flock's, on the file `lock`, which stays when the block ends: removed, it would let
    two processes hold locks on two files of that name. A program that this process starts does not
    inherit it (a mere fork would).
    """
    path = run_dir / LOCK
    with storing(path):
        # not inherited by started programs, as all that Python opens; no wait for a pipe's reader
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o666)
    try:
        _acquire(descriptor, path)
        with storing(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _owner(), 0)
        yield
    finally:
        os.close(descriptor)  # which releases the lock


def _acquire(descriptor: int, path: Path) -> None:
    if not S_ISREG(os.fstat(descriptor).st_mode):
        raise StorageError(f"{path}: not a regular file", "it holds the run's lock", "remove it")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunInUseError(
            f"{path.parent}: another process trains in it",
            _described(os.pread(descriptor, LARGEST_OWNER, 0)),
            "wait until it ends or stop it, or choose another folder with --run-dir",
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in NO_LOCKS:
            why = f"its file system has no locks ({why}): two runs could write over each other"
        raise StorageError(
            f"{path}: cannot be locked", why, "choose a folder on a local disk with --run-dir"
        ) from error


def _owner() -> bytes:
    owner = {
        "pid": os.getpid(),
        "host": platform.node(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv)[:1000],
    }
    return json.dumps(owner).encode() + b"\n"


def _described(content: bytes) -> str:
    """Return the owner in a person's words; whatever else the file holds is nobody's name."""
    try:
        owner = json.loads(content)
        text = "process {pid} on {host}, since {started}: {command}".format_map(owner)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "the owner has not written its name"
    return "".join(letter if letter.isprintable() else "?" for letter in text)
