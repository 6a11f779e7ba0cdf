"""Failures of worker processes, injected into the process of a run before it starts."""

import json
import os
import shutil
import signal
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import psutil
from kill_faults import at_call

from bptrain.data.images import image_scan

PIDS = "pids"  # a file: the pids of the fork server and its workers
SETTLE = "bptrain.experiment.session:Session.settle"


def send_at_step(step: int, number: int, to: str) -> None:
    """Send a signal after a step: to a worker, to the fork server, or to the run itself."""

    def send() -> None:
        server, *workers = processes()
        chosen = {"worker": workers[:1], "all workers": workers, "server": [server]}
        chosen["all workers and the server"] = [server, *workers]
        if to == "itself":
            workers[0].send_signal(signal.SIGSTOP)  # a worker that hangs must end too
            os.kill(os.getpid(), number)
        for each in chosen[to]:
            each.send_signal(number)

    warm_up()
    at_call(SETTLE, step, send)


def send_in_scan(number: int) -> None:
    """Send a signal to a worker while the images are scanned before the run."""
    image_scan.SCAN_BATCH = 4  # or the worker has nothing left to do then
    warm_up()
    at_call(
        "bptrain.data.images.image_scan:channel_histograms",
        1,
        lambda: processes()[1].send_signal(number),
    )


def damage_at_step(step: int, damage: str, folder: str, by_workers: bool) -> None:
    """Damage all images of a folder after a step, decoded by workers or not."""

    def act() -> None:
        for path in Path(folder).glob("*.png"):
            if damage == "garbage":
                path.write_bytes(b"no image")
            elif damage == "cut":
                os.truncate(path, path.stat().st_size // 2)
            else:
                path.unlink()

    if by_workers:
        warm_up()
    else:
        without_workers()
    at_call(SETTLE, step, act)


def without_workers() -> None:
    """Make the run decode its images without workers, whatever its config says: it is faster."""
    from bptrain.data.images import decoding_workers, image_files_config

    def computed(task: Any, batches: Any, workers: int, timeout_s: float) -> Any:
        return map(task, batches)

    for module in (decoding_workers, image_files_config):
        module.computed = computed  # type: ignore[attr-defined]


def processes() -> list[Any]:
    """Return the fork server and its workers, and write their pids to a file."""
    server = psutil.Process(forkserver._forkserver._forkserver_pid)
    workers = server.children()
    Path(PIDS).write_text(json.dumps([server.pid, *(worker.pid for worker in workers)]))
    return [server, *workers]


def warm_up() -> None:
    """Start the fork server, so that its import of torch does not count in a worker's timeout."""
    from bptrain.data.images.decoding_workers import decoded
    from bptrain.data.images.image_file import ImageShape

    shutil.copyfile(next(Path("images").glob("*/*.png")), "first.png")
    for _ in decoded([["first.png"]], ImageShape(16, 16, 3), workers=1):
        pass
