"""Count every change that a run makes to its folder, and kill the run before the n-th of them.

Files are opened by `_pyio.open`, Python's slow implementation in Python, so that everything goes
through functions of `os`, which are replaced here. A power cut is a kill after which the disk has
lost what was not synced: see `forgetful_disk`.
"""

import _pyio
import atexit
import builtins
import io
import json
import os
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from forgetful_disk import ForgetfulDisk
from kill_faults import kill

BY_NAME = ("open", "mkdir", "rename", "replace", "unlink", "remove", "rmdir", "truncate")
BY_DESCRIPTOR = ("write", "pwrite", "fsync", "fdatasync", "ftruncate")
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
real = {name: getattr(os, name) for name in BY_NAME + BY_DESCRIPTOR}


def count(report: str) -> None:
    """List all operations, as `[name, path]`, in a file when the run ends."""
    operations = Operations(Path.cwd())
    atexit.register(lambda: Path(report).write_text(json.dumps(operations.done)))


def kill_before(number: int) -> None:
    """Kill it before the n-th operation, from 0."""
    Operations(Path.cwd(), number)


def kill_in_write(number: int) -> None:
    """Kill it when half of the n-th operation, a write, is done."""
    Operations(Path.cwd(), number, torn=True)


def cut_power_before(number: int, seed: int, backup_dir: str) -> None:
    """Cut the power before the n-th operation; what is lost is drawn from the seed.

    backup_dir  an empty folder on the same file system, where removed files stay until the cut
    """
    disk = ForgetfulDisk(Path.cwd(), Path(backup_dir), real)
    Operations(Path.cwd(), number, disk=disk, random=Random(seed))


class Operations:
    """Replaces functions of `os`, and ends the process at one of their calls."""

    def __init__(
        self,
        root: Path,
        last: int | None = None,
        torn: bool = False,
        disk: ForgetfulDisk | None = None,
        random: Random | None = None,
    ) -> None:
        self.root, self.last, self.torn, self.disk, self.random = root, last, torn, disk, random
        self.done: list[tuple[str, str]] = []
        for name in BY_NAME:
            setattr(os, name, partial(self.by_name, name))
        for name in BY_DESCRIPTOR:
            setattr(os, name, partial(self.by_descriptor, name))
        builtins.open = io.open = partial(opened, io.open)

    def by_name(self, name: str, path: Any, *arguments: Any, **named: Any) -> Any:
        """Do an operation that names its file; one that only reads is not counted."""
        where = self.within(path, named.get("dir_fd") or named.get("src_dir_fd"))
        reads = name == "open" and not arguments[0] & FOR_WRITING
        if reads or where is None:
            return real[name](path, *arguments, **named)
        self.reach(name, where)
        if self.disk is not None:
            target = self.root / arguments[0] if name in ("rename", "replace") else None
            self.disk.expect(name, where, target, arguments)
        answer = real[name](path, *arguments, **named)
        if self.disk is not None:
            self.disk.settle()
        return answer

    def by_descriptor(self, name: str, descriptor: int, *arguments: Any) -> Any:
        """Do an operation on an open file."""
        where = self.within(place_of(descriptor), None)
        if where is None or descriptor < 3:
            return real[name](descriptor, *arguments)
        self.reach(name, where, partial(self.half, name, descriptor, *arguments))
        if self.disk is not None:
            self.disk.touch(name, descriptor)
        return real[name](descriptor, *arguments)

    def half(self, name: str, descriptor: int, content: Any = b"", *where: Any) -> None:
        """Do half of a write."""
        assert name in ("write", "pwrite")
        real[name](descriptor, bytes(content)[: len(content) // 2], *where)

    def within(self, path: Any, folder: int | None) -> Path | None:
        """Return the path if it is inside the run's folder."""
        base = Path.cwd() if folder is None else place_of(folder)
        whole = place_of(path) if isinstance(path, int) else base / os.fsdecode(path)
        return whole if whole.is_relative_to(self.root) else None

    def reach(self, name: str, path: Path, half: Any = None) -> None:
        """Count an operation that is about to be done, or end here."""
        if len(self.done) == self.last:
            if self.torn:
                half()
            if self.disk is not None:
                self.disk.forget(self.random)
            kill()
        self.done.append((name, str(path.relative_to(self.root))))


def place_of(descriptor: int) -> Path:
    """Return the path of an open file."""
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def opened(read: Any, file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
    """Open a file by `_pyio` for writing, and by the usual fast function for reading."""
    writes = set(mode) & set("wax+")
    return (_pyio.open if writes else read)(file, mode, *arguments, **named)
