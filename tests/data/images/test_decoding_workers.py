"""Worker processes that die or hang: the run ends, and no process is left."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
from image_sets import write_folder
from torch import Tensor

from bptrain.data import worker_processes
from bptrain.data.images.decoding_workers import decoded
from bptrain.data.images.image_file import ImageShape
from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.errors import WorkerError

SCRIPT = """\
import signal, sys, time
from multiprocessing import forkserver
from pathlib import Path
import psutil
from bptrain.data.images.decoding_workers import decoded
from bptrain.data.images.image_file import ImageShape

if __name__ == "__main__":
    paths = [[str(path)] for path in sorted(Path(sys.argv[1]).iterdir())] * 50
    images = decoded(paths, ImageShape(16, 16, 3), workers=2)
    next(images)
    server = psutil.Process(forkserver._forkserver._forkserver_pid)
    stopped, _ = workers = server.children()
    stopped.send_signal(signal.SIGSTOP)
    while stopped.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    print(server.pid, *(worker.pid for worker in workers), flush=True)
    time.sleep(600)
"""


def workers_of(root: Path, **options: float) -> tuple[Iterator[Tensor], list[psutil.Process]]:
    """Return the batches of 240 images, begun, and the processes that decode them.

    Their server is up before: its imports count for no timeout.
    """
    paths = [[str(path)] for path in sorted((root / "cat").iterdir())] * 20
    list(decoded(paths[:1], ImageShape(16, 16, 3), workers=1))
    images = decoded(paths, ImageShape(16, 16, 3), workers=2, **options)
    next(images)
    return images, psutil.Process(forkserver._forkserver._forkserver_pid).children()


def are_gone(processes: list[psutil.Process]) -> bool:
    """Wait for processes to end; one that nobody asks for its exit status has ended too."""
    for _ in range(3000):
        if not any(map(is_alive, processes)):
            return True
        time.sleep(0.02)
    return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_dies_ends_the_run_with_its_own_exit_code(tmp_path: Path) -> None:
    images, workers = workers_of(write_folder(tmp_path))
    workers[0].kill()
    with pytest.raises(WorkerError, match="worker failed or is gone") as caught:
        list(images)
    assert caught.value.exit_code == 8
    assert are_gone(workers)


def test_workers_and_their_server_leave_stop_signals_to_the_run(tmp_path: Path) -> None:
    images, workers = workers_of(write_folder(tmp_path))
    assert workers
    for process in (psutil.Process(forkserver._forkserver._forkserver_pid), *workers):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)
    assert len(list(images)) == 239
    assert are_gone(workers)


def test_a_worker_that_hangs_ends_the_run_and_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_processes, "POLL_S", 0.4)  # the last of three looks ends the run
    images, workers = workers_of(write_folder(tmp_path), timeout_s=1)
    workers[0].send_signal(signal.SIGSTOP)
    with pytest.raises(WorkerError, match=r"no batch .* for 1 s[\s\S]*worker_timeout_s") as caught:
        list(images)
    assert caught.value.exit_code == 8
    assert are_gone(workers)


def test_a_stopped_worker_that_continues_in_time_loses_no_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_processes, "POLL_S", 0.1)
    images, workers = workers_of(write_folder(tmp_path), timeout_s=60)
    workers[0].send_signal(signal.SIGSTOP)
    later = threading.Timer(0.5, workers[0].send_signal, [signal.SIGCONT])
    later.start()
    assert len(list(images)) == 239
    later.join()


def test_time_between_two_batches_does_not_count_for_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_processes, "POLL_S", 0.05)
    images, _ = workers_of(write_folder(tmp_path), timeout_s=1)
    time.sleep(1.2)
    assert len(list(images)) == 239


def test_the_folders_config_sets_the_timeout(tmp_path: Path) -> None:
    root = str(write_folder(tmp_path))
    config = ImageFolderConfig(root=root, memory_bytes=0, worker_timeout_s=7.5)
    assert config.build(0).train.worker_timeout_s == 7.5


def test_workers_end_with_a_training_process_that_is_killed(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), str(root / "cat")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        children = [psutil.Process(int(pid)) for pid in training.stdout.readline().split()]
        stopped = [child.status() == psutil.STATUS_STOPPED for child in children]
        training.kill()
        assert stopped == [False, True, False]
        assert are_gone(children)
