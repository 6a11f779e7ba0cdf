"""A disk that fails at the n-th operation: full, or the process killed, or the power cut.

Every change to the file system that our code makes goes through the functions of `os` that are
replaced here. Nothing waits for the real disk.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from bptrain.errors import StorageError

CHANGES = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir")
Fault = Literal["none", "full disk", "kill", "power cut"]


class Killed(BaseException):
    """The process is gone: no cleanup may run, and every further operation raises it again."""


class FaultyDisk:
    """Counts operations, and fails at the one numbered `at`, from 0.

    A full disk refuses once, then takes what is asked of it: cleaning up can succeed. A kill lets
    nothing through any more. A power cut is a kill after which the disk has forgotten whatever
    nobody waited for: contents that were not synced are halved, new names whose folder was not
    synced are the old ones again.
    """

    def __init__(self, fault: Fault, at: int) -> None:
        self.fault, self.at = fault, at
        self.operations: list[str] = []
        self.dead = False
        self.reported = ""  # why, from the StorageError that ended the block
        self.paths: dict[int, Path] = {}  # by descriptor
        self.unsynced: set[Path] = set()
        self.renamed: list[tuple[Path, Path]] = []  # and the folder not yet synced
        self.finished: list[str] = []  # names that a complete checkpoint took
        self.real = {name: getattr(os, name) for name in CHANGES}

    def operate(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Do an operation, or fail at it."""
        if name == "open" and not arguments[1] & os.O_CREAT:
            return self.opened(arguments, named)
        if self.dead:
            raise Killed
        number = len(self.operations)
        self.operations.append(name)
        if number == self.at and self.fault == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number == self.at and self.fault in ("kill", "power cut"):
            self.dead = True
            raise Killed
        if name == "open":
            return self.opened(arguments, named)
        if name == "fsync":
            return self.synced(self.paths[arguments[0]])
        done = self.real[name](*arguments, **named)
        if name == "write":
            self.unsynced.add(self.paths[arguments[0]])
        if name == "rename":
            self.rename(*(Path(each) for each in arguments))
        return done

    def opened(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
        descriptor: int = self.real["open"](*arguments, **named)
        self.paths[descriptor] = Path(arguments[0])
        return descriptor

    def synced(self, path: Path) -> None:
        self.unsynced.discard(path)
        self.renamed = [pair for pair in self.renamed if pair[1].parent != path]

    def rename(self, old: Path, new: Path) -> None:
        self.renamed.append((old, new))
        if new.name.startswith("step-"):
            self.finished.append(new.name)

    def forget(self) -> None:
        """Leave on the disk what a power cut leaves at worst."""
        if self.fault == "power cut":
            for path in self.unsynced:
                moved = [new / path.name for old, new in self.renamed if old == path.parent]
                for each in (path, *moved):
                    if each.exists():
                        os.truncate(each, each.stat().st_size // 2)
            for old, new in reversed(self.renamed):
                if new.exists():
                    new.rename(old)


@contextmanager
def faulty_disk(fault: Fault, at: int = 0) -> Iterator[FaultyDisk]:
    """Replace the functions of `os` inside the block; a kill or a StorageError ends the block."""
    disk = FaultyDisk(fault, at)
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, lambda *a, _name=name, **k: disk.operate(_name, *a, **k))
        try:
            yield disk
        except Killed:
            assert disk.dead
        except StorageError as error:
            disk.reported = error.why
    disk.forget()
