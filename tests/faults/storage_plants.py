"""A file system that refuses, for a process of its own: planted before a run begins."""

import atexit
import builtins
import io
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "write", "pwrite", "fsync", "ftruncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NEED_ROOM = ("open", "mkdir", "write", "pwrite", "fsync", "rename", "replace")


class Disk:
    """Numbers each change that a run makes below a folder, from 0, and can let one fail.

    act  is called before each with its number and name, and may raise OSError
    """

    def __init__(self, below: str, act: Callable[[int, str], None]) -> None:
        self.below, self.act = below, act
        self.changes: list[tuple[str, str]] = []
        self.real = {name: getattr(os, name) for name in (*CHANGES, "open")}
        self.real_open = io.open

    def plant(self) -> None:
        """Put it in place of what Python offers."""
        for name in CHANGES:
            setattr(os, name, self.changing(name))
        os.open = self.open  # type: ignore[assignment]
        io.open = builtins.open = self.open_file  # type: ignore[assignment]

    def note(self, name: str, path: object) -> None:
        """Count a change, or let it fail."""
        if str(path).startswith(self.below):
            number = len(self.changes)
            self.changes.append((name, str(path).removeprefix(self.below)))
            self.act(number, name)

    def changing(self, name: str) -> Callable[..., Any]:
        """Return the function of that name, counted."""

        def change(*arguments: Any, **named: Any) -> Any:
            target = arguments[1] if name in ("rename", "replace") else arguments[0]
            path = self.path_of(target, named.get("dir_fd"))
            if name != "mkdir" or not path.is_dir():  # else nothing would change
                self.note(name, path)
            return self.real[name](*arguments, **named)

        return change

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open a file, counted if it is for writing."""
        if flags & WRITING:
            self.note("open", self.path_of(path, dir_fd))
        descriptor: int = self.real["open"](path, flags, mode, dir_fd=dir_fd)
        return descriptor

    def open_file(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any):
        """Open a file, each write to it counted if it is for writing."""
        path = str(self.path_of(file, None))
        if not set(mode) & set("wax+") or not path.startswith(self.below):
            return self.real_open(file, mode, buffering, *rest, **named)
        self.note("open", path)
        raw = CountedFile(self, path, file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **named)

    def path_of(self, target: Any, folder: int | None) -> Path:
        """Return the path of a name or a descriptor."""
        if isinstance(target, int):
            return Path(f"/proc/self/fd/{target}").readlink()
        if folder is not None:
            return self.path_of(folder, None) / os.fspath(target)
        return Path.cwd() / os.fspath(target)


class CountedFile(io.FileIO):
    """A file whose writes are counted."""

    def __init__(self, disk: Disk, path: str, file: Any, mode: str) -> None:
        self.disk, self.path = disk, path
        super().__init__(file, mode)

    def write(self, content: Any) -> int:
        self.disk.note("write", self.path)
        return super().write(content)

    def truncate(self, size: int | None = None) -> int:
        self.disk.note("ftruncate", self.path)
        return super().truncate(size)


def count_changes(below: str, told_in: str) -> None:
    """Let nothing fail, and write the list of changes into a file at the end."""
    disk = Disk(below, lambda number, name: None)
    disk.plant()
    atexit.register(lambda: Path(told_in).write_text(json.dumps(disk.changes)))


def refuse(below: str, at: int, number: int, lasting: bool) -> None:
    """Let the change numbered `at` fail with an errno, and if it lasts, what else needs room."""

    def act(ordinal: int, name: str) -> None:
        if ordinal == at or (lasting and ordinal > at and name in NEED_ROOM):
            raise OSError(number, os.strerror(number))

    Disk(below, act).plant()


def limit_files(size: int, told_by: str) -> None:
    """Let no file grow beyond a size; what is told goes through a pipe, which has none."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(told_by, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_output() -> None:
    """Let standard output lead to a disk that is full."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def mount(*words: str) -> None:
    """Mount what `mount` is told to."""
    subprocess.run(["mount", *words], check=True)


def at_step(step: int, action: str, *arguments: str) -> None:
    """Do something to the file system once a step is done, before it is logged and saved."""
    from bptrain.session import Session

    settle, act = Session.settle, ACTIONS[action]

    def settled(session: Session) -> None:
        if session.position.step == step:
            act(*arguments)
        settle(session)

    Session.settle = settled  # type: ignore[method-assign]


def remove(path: str) -> None:
    """Remove a file or a folder."""
    if Path(path).is_dir():
        shutil.rmtree(path)
    else:
        Path(path).unlink()


def put_file(path: str) -> None:
    """Put a file in the place of a folder."""
    shutil.rmtree(path)
    Path(path).write_text("no folder")


def make_read_only(path: str) -> None:
    """Let nothing below a folder be changed, in this process's mounts."""
    mount("--bind", path, path)
    mount("-o", "remount,bind,ro", path)


ACTIONS: dict[str, Callable[..., object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "remove": remove,
    "put a file": put_file,
    "fill the output": fill_output,
    "make read-only": make_read_only,
}
