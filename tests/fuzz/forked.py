"""Commands of bptrain in forked processes: each starts in milliseconds and ends by itself.

The parent imports everything once and computes nothing, so that it has no threads to lose.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from fingerprints import draw_fingerprints
from launcher import replace
from warm_start import import_all

DOCUMENTED = {0, 2, 3, 4, 5, 6, 7, 8, 9, 11}
MOST_CPU_S = 10
MOST_BYTES = 2**30
WALL_S = 120  # of a process that waits for ever
FREE_BYTES = 300 * 2**20  # what a command is told is free: it must refuse what takes more
OUTPUT = "output.txt"
MODULES = (
    *("pyarrow.parquet", "soundfile", "torchvision.models"),
    *(f"bptrain.commands.{name}" for name in ("check", "diagnose", "explain", "replay")),
)


class Ended(NamedTuple):
    """How a command ended; a negative code is a signal."""

    code: int
    output: str
    cpu_s: float
    peak_bytes: int

    @property
    def problem(self) -> str:
        """What is wrong with it; "" for nothing."""
        if self.code not in DOCUMENTED:
            return f"exit code {self.code}"
        if "Traceback" in self.output:
            return "a traceback"
        if "\x1b" in self.output:
            return "a terminal escape"
        if self.cpu_s > MOST_CPU_S:
            return f"{self.cpu_s:.0f} s"
        return f"{self.peak_bytes:,} bytes" if self.peak_bytes > MOST_BYTES else ""


def prepare() -> None:
    """Import what the commands import where they need it."""
    from bptrain.config.strict import json_schema
    from bptrain.experiment.config import ExperimentConfig

    json_schema(ExperimentConfig)
    import_all(*MODULES)


def run(words: Sequence[str], folder: Path, draws: bool = True) -> Ended:
    """Run `bptrain WORDS` in a folder to its end; draw pictures, or their fingerprints."""
    pid = os.fork()
    if pid == 0:
        _run_here(words, folder, draws)
    _, status, used = os.wait4(pid, 0)
    output = (folder / OUTPUT).read_bytes().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, output, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def _run_here(words: Sequence[str], folder: Path, draws: bool) -> NoReturn:
    code: object = 70
    try:
        os.chdir(folder)
        output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, source in enumerate((null, output, output)):
            os.dup2(source, number)
        os.setsid()
        signal.alarm(WALL_S)
        resource.setrlimit(resource.RLIMIT_CPU, (4 * MOST_CPU_S, 4 * MOST_CPU_S))
        _limit()
        if not draws:
            draw_fingerprints(replace)
        sys.argv = ["bptrain", *words]
        from bptrain.cli import main

        try:
            main()
            code = 0
        except SystemExit as ended:
            code = 0 if ended.code is None else ended.code
        sys.stdout.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1)


def _limit() -> None:
    """Let little memory be free, and no other machine be reached."""
    import bptrain.data.audio.spectrograms as spectrograms
    import bptrain.data.text.text_file as text_file
    import bptrain.experiment.state_dict_file as state_dict_file
    import bptrain.rundir.manifest as manifest
    import bptrain.train.memory as memory

    for module in (spectrograms, text_file, state_dict_file, manifest, memory):
        module.free_bytes = lambda: FREE_BYTES  # type: ignore[attr-defined]

    def refuse(*_: object) -> NoReturn:
        raise OSError("no network")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse  # type: ignore[assignment]
