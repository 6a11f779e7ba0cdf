"""Worker processes under watch: a batch is waited for as long as is allowed, and none is left."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from itertools import count
from math import ceil
from multiprocessing import active_children, forkserver
from multiprocessing.process import BaseProcess
from threading import Event, Thread
from typing import Any

from torch.utils.data import DataLoader

from bptrain.errors import WorkerError

LOOK_S = 5.0  # longest time between two looks of a watch
THE_END = 0  # what is waited for when no more batches are: batches count from 1
DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class Watch:
    """Kills the workers when a batch has been waited for too long, which ends any wait for them.

    torch's own timeout does not: a batch that a stopped worker has announced is fetched from it
    without a limit. Looks are counted, not seconds: a run that is halted by Ctrl-Z does not wait.
    """

    def __init__(self, workers: set[BaseProcess], timeout_s: float) -> None:
        self.workers, self.looks = workers, ceil(timeout_s / LOOK_S)
        self.look_s = timeout_s / self.looks
        self.waits_for: int | None = None  # number of the batch
        self.ran_out = False
        self.ended = Event()
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        seen, looks = None, 0
        while not self.ended.wait(self.look_s):
            waits_for = self.waits_for
            looks = looks + 1 if waits_for == seen and waits_for is not None else 0
            seen = waits_for
            if looks == self.looks:
                self.ran_out = True
                for worker in self.workers:
                    worker.kill()  # SIGTERM would not reach one that is stopped


def watched(loader: DataLoader[Any], timeout_s: float) -> Iterator[Any]:
    """Yield what the loader loads, and leave no worker behind.

    Raises WorkerError if it takes longer than `timeout_s`, and what torch raises for a dead worker.
    """
    others = set(active_children())
    batches = iter(loader)
    watch = Watch(set(active_children()) - others, timeout_s)
    try:
        for number in count(THE_END + 1):
            watch.waits_for = number
            try:
                batch = next(batches)
            except StopIteration:
                return
            watch.waits_for = None
            yield batch
    except (RuntimeError, OSError, EOFError) as error:
        if not watch.ran_out:
            raise
        raise WorkerError(
            f"no batch from the data-loader workers for {timeout_s:g} s",
            "they are stopped, or the file system that the images lie on does not answer",
            "a greater data.worker_timeout_s if it is only slow, or fewer data.workers",
        ) from error
    finally:
        watch.waits_for = THE_END
        del batches  # the last reference, if all is well: torch asks its workers to end, and waits
        watch.ended.set()
        for worker in watch.workers:
            if worker.is_alive():
                worker.kill()


def end_with_training(worker: int) -> None:
    """Have this worker end with the training process, however that ends, and even while it hangs.

    torch looks between two batches whether the worker's parent, the fork server, is there, and the
    server ends when nobody holds the other end of a pipe any more. Python gives that end to every
    worker too: a server and its workers kept each other alive.
    """
    held = getattr(forkserver._forkserver, "_forkserver_alive_fd", None)
    if held is not None:
        os.close(held)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
