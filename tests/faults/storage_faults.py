"""File system errors, injected into the process of a run before it starts."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disk_faults import Operations
from kill_faults import at_call

NEED_SPACE = ("open", "mkdir", "write", "pwrite", "fsync", "rename", "replace")


def refuse(at: int, number: int, lasting: bool) -> None:
    """Make operation number `at` fail with an errno; if lasting, later ones needing space too.

    After a single failure the run can remove its unfinished checkpoint.
    """

    class Refusing(Operations):
        def reach(self, name: str, path: Path, half: Any = None) -> None:
            super().reach(name, path)
            ordinal = len(self.done) - 1
            if ordinal == at or (lasting and ordinal > at and name in NEED_SPACE):
                raise OSError(number, os.strerror(number))

    Refusing(Path.cwd())


def limit_files(size: int, message_pipe: str) -> None:
    """Limit the size of files; messages go through a pipe, to which the limit does not apply."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(message_pipe, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_output() -> None:
    """Redirect standard output to a full disk."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def mount(*words: str) -> None:
    """Run `mount` with these arguments."""
    subprocess.run(["mount", *words], check=True)


def at_step(step: int, action: str, *arguments: str) -> None:
    """Change the file system after a step, before it is logged and saved."""
    at_call("bptrain.experiment.session:Session.settle", step, lambda: ACTIONS[action](*arguments))


def remove(path: str) -> None:
    """Remove a file or a folder."""
    if Path(path).is_dir():
        shutil.rmtree(path)
    else:
        Path(path).unlink()


def put_file(path: str) -> None:
    """Replace a folder by a file."""
    shutil.rmtree(path)
    Path(path).write_text("no folder")


def make_read_only(path: str) -> None:
    """Mount a folder read-only, in this process's mounts."""
    mount("--bind", path, path)
    mount("-o", "remount,bind,ro", path)


ACTIONS: dict[str, Callable[..., object]] = {
    "remove": remove,
    "put a file": put_file,
    "fill the output": fill_output,
    "make read-only": make_read_only,
}
