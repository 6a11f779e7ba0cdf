"""Runs of bptrain as separate processes that start in milliseconds, for the injection of faults.

A server imports everything once and forks a child for each run: like a user's process, without the
seconds of importing. It computes nothing before it forks, so that it has no threads to lose.

    with Launcher() as launcher:
        process = launcher.start(["fit", "config.yaml"], cwd=folder)
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

`fault` names a function that the child calls first, with its arguments: "module:function"; where it
exits, no run begins. A run that hangs is ended by SIGALRM after TIMEOUT_S.
"""

import atexit
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from fingerprints import draw_fingerprints
from warm_start import import_all

TIMEOUT_S = 180


@dataclass
class Process:
    """A run that was started; its output goes to two files."""

    launcher: "Launcher"
    pid: int
    folder: Path

    def __post_init__(self) -> None:
        self._handle: int | None = None  # unlike a pid, never reused for another process
        with suppress(ProcessLookupError):
            self._handle = os.pidfd_open(self.pid)

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def wait(self) -> int:
        """Return the exit code, or minus the signal that ended the process."""
        code: int = self.launcher.reply()["exit_code"]
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        return code

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return self._read("stdout.txt")

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return self._read("stderr.txt")

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""  # killed before it opened them


class Launcher:
    """The server, while entered; it serves one run at a time."""

    mounts_of = 0  # the process whose mounts its runs have, instead of the server's own

    def with_mounts_of(self, pid: int) -> "Launcher":
        """Return a launcher of runs that have another process's mounts, by the same server."""
        other = copy(self)
        other.mounts_of = pid
        return other

    def __enter__(self) -> "Launcher":
        here = Path(__file__)
        # each further arena of glibc's malloc has 64 MB in reserve, beyond any limit of memory
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(
            [*map(str, (here.parents[1], here.parent, here.parent / "faults")), *sys.path]
        )
        self._server = subprocess.Popen(
            [sys.executable, str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def start(
        self,
        words: Sequence[object],
        cwd: Path,
        fault: str = "",
        arguments: Sequence[Any] = (),
        draws: bool = True,
    ) -> Process:
        """Start `bptrain WORDS` in `cwd`; draw pictures, or their fingerprints."""
        job = {"words": [str(word) for word in words], "cwd": str(cwd), "draws": draws}
        job |= {"fault": fault, "arguments": list(arguments), "mounts_of": self.mounts_of}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return Process(self, self.reply()["pid"], cwd)

    def run(
        self,
        words: Sequence[object],
        cwd: Path,
        fault: str = "",
        arguments: Sequence[Any] = (),
        draws: bool = True,
    ) -> tuple[int, str]:
        """Run to the end and return the exit code and stderr."""
        process = self.start(words, cwd, fault, arguments, draws)
        return process.wait(), process.stderr

    def seen(self, path: Path) -> Path:
        """Return the path at which this process sees a path of the runs."""
        return Path(f"/proc/{self.mounts_of}/root{path}") if self.mounts_of else path

    def reply(self) -> dict[str, int]:
        """Return the server's next reply."""
        assert self._server.stdout is not None
        message: dict[str, int] = json.loads(self._server.stdout.readline())
        return message

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.communicate()  # closes its input, at which it exits


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Create a folder for the block, on /dev/shm if it exists."""
    memory = "/dev/shm"
    usable = os.access(memory, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="bptrain-", dir=memory if usable else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def serve() -> None:
    """Fork a child for each line of standard input."""
    import_all()
    tempfile.gettempdir()  # which tries the folder by writing into it, once a process
    for line in sys.stdin:
        job = json.loads(line)
        if "muon" in " ".join(job["words"]):
            import torch._dynamo  # noqa: F401  # so does its optimizer: two seconds a run
        pid = os.fork()
        if pid == 0:
            run_job(job)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"exit_code": os.waitstatus_to_exitcode(status)}), flush=True)


def run_job(job: dict[str, Any]) -> NoReturn:
    """Run a job in this forked process, and exit."""
    from bptrain.cli import main

    signal.alarm(TIMEOUT_S)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of this file before it begins
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which `nohup` has ignored
    os.setsid()  # a signal to its group reaches only it and its workers
    if job["mounts_of"]:
        enter_mounts_of(job["mounts_of"])
    os.chdir(job["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    sys.argv = ["bptrain", *job["words"]]
    if not job["draws"]:
        draw_fingerprints(replace)
    code: object = 0
    try:
        if job["fault"]:
            module, _, function = job["fault"].partition(":")
            getattr(import_module(module), function)(*job["arguments"])
        main()
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def enter_mounts_of(pid: int) -> None:
    """Give this process, which may have one thread only, the mounts of another."""
    for namespace in ("user", "mnt"):  # in its users' first: there it may enter the mounts
        descriptor = os.open(f"/proc/{pid}/ns/{namespace}", os.O_RDONLY)
        assert ctypes.CDLL(None).setns(descriptor, 0) == 0
        os.close(descriptor)


def replace(name: str, function: Callable[..., Any]) -> None:
    """Put a function in the place of another, given by its name."""
    module, _, attribute = name.rpartition(".")
    setattr(import_module(module), attribute, function)


if __name__ == "__main__":
    serve()
