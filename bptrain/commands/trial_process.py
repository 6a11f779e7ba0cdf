"""A run of a search in a process of its own: `fit`, as a person would start it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import torch

from bptrain.experiment.search.sweep import RunFiles
from bptrain.rundir.durable_files import storing
from bptrain.rundir.run_lock import owner_of

STOPPED = 128 + signal.SIGTERM
THREADS = "OMP_NUM_THREADS"
VISIBLE = "CUDA_VISIBLE_DEVICES"


class TrialProcess:
    """`fit --resume=auto` in a process of its own, which begins once its run's folder is free.

    A search that was killed may have left the run training.
    """

    def __init__(self, files: RunFiles, environment: Mapping[str, str]) -> None:
        self.files, self.environment = files, dict(environment)
        self.process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False

    def poll(self) -> int | None:
        """Return the exit code, None before the end."""
        if self.process is None:
            if self.is_stopped:
                return STOPPED
            if owner_of(self.files.run_dir):
                return None
            self.process = self._started()
        exit_code = self.process.poll()
        return 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code

    def _started(self) -> "subprocess.Popen[bytes]":
        """Start the process in a session of its own: a terminal's Ctrl-C is for the search."""
        config, run_dir, log = self.files
        words = ["fit", str(config), "--run-dir", str(run_dir), "--resume=auto"]
        with storing(log, "choose another folder with --dir"), log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "bptrain", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask the run to save a checkpoint and end; a second signal would end it at once."""
        if self.process is not None and not self.is_stopped:
            self.process.terminate()
        self.is_stopped = True


def environment_of(slot: int, at_once: int, device: str) -> dict[str, str]:
    """Return the environment of a run: its part of the CPU's threads, and a GPU if there are more.

    slot  which of the runs at a time it is, counted from 0
    """
    environment = dict(os.environ)
    if at_once > 1:
        usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        environment.setdefault(THREADS, str(max(1, len(usable(0)) // at_once)))
        gpus = torch.cuda.device_count()
        if gpus > 1 and device in ("auto", "cuda") and VISIBLE not in environment:
            environment[VISIBLE] = str(slot % gpus)
    return environment
