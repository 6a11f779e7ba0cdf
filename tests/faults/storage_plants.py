"""A file system that refuses, for the process of a run: planted before it begins."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disk_plants import Operations
from kill_plants import at_call

NEED_ROOM = ("open", "mkdir", "write", "pwrite", "fsync", "rename", "replace")


def refuse(at: int, number: int, lasting: bool) -> None:
    """Let the operation numbered `at` fail with an errno, and if it lasts, what needs room later.

    A disk that refuses once lets be removed what an unfinished checkpoint took.
    """

    class Refusing(Operations):
        def reach(self, name: str, path: Path, half: Any = None) -> None:
            super().reach(name, path)
            ordinal = len(self.done) - 1
            if ordinal == at or (lasting and ordinal > at and name in NEED_ROOM):
                raise OSError(number, os.strerror(number))

    Refusing(Path.cwd())


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
    """Do something to the file system when a step is done, before it is logged and saved."""
    at_call("bptrain.experiment.session:Session.settle", step, lambda: ACTIONS[action](*arguments))


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
    "remove": remove,
    "put a file": put_file,
    "fill the output": fill_output,
    "make read-only": make_read_only,
}
