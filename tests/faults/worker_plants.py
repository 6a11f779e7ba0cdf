"""What happens to the processes that decode images, and to the images, in the midst of a run."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil

from bptrain import session
from bptrain.data import worker_watch


def after_step(step: int, happen: Callable[[], None]) -> None:
    """Let something happen once a step is taken, before it is settled."""
    whole = session.fit

    def fit(*arguments: Any) -> Iterator[Any]:
        for report in whole(*arguments):
            if report.position.step == step:
                happen()
            yield report

    session.fit = fit


def workers() -> list[psutil.Process]:
    """Return the processes that decode."""
    return psutil.Process(forkserver._forkserver._forkserver_pid).children()


def signal_workers_after(step: int, number: int) -> None:
    """Send the workers a signal; a worker that stops is noticed after seconds, not minutes."""
    worker_watch.LOOK_S = 0.5

    def happen() -> None:
        for worker in workers():
            worker.send_signal(number)

    after_step(step, happen)


def die_after(step: int, report: str) -> None:
    """Kill this process, its workers' numbers written into a file."""

    def happen() -> None:
        server = forkserver._forkserver._forkserver_pid
        Path(report).write_text(" ".join(map(str, [server, *(each.pid for each in workers())])))
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    after_step(step, happen)


def damage_images_after(step: int, root: str) -> None:
    """Cut every image short, as a disk that fails does."""

    def happen() -> None:
        for path in Path(root).rglob("*.png"):
            shutil.copy(path, path.with_suffix(".whole"))
            os.truncate(path, path.stat().st_size // 2)

    after_step(step, happen)
