"""Data-loader workers that are killed, hang, or read a damaged image.

A run decodes its images from disk in each epoch, by two worker processes. During an epoch, or while
the images are scanned before the first step, a worker, all of them or their server are killed or
stopped: exit code 8. Images are damaged or removed while it runs: exit code 3, also for a resume
before they are repaired. The training process itself is killed while a worker hangs. In all cases
no process may be left.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from launcher import Launcher
from PIL import Image
from reference_runs import ReferenceRuns, Run, difference, message_problem

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import list_checkpoints, read_checkpoint

Tally = Callable[..., None]

EVERY = pytest.mark.faults  # not by default
DATA = (
    "data={kind: image_folder, root: images, size: 16, batch_size: 4, memory_bytes: 0, workers: 2,"
    " worker_timeout_s: 3.0}"
)
CHANGES = ("cnn", "train.steps=28", DATA)
IMAGES = 33  # of each of two classes: an epoch of 14 steps


class Images(Run):
    """A run that decodes its images without workers, to the same bits, if it has no fault."""

    def go(self, fault: str = "", *arguments: Any, resume: bool | None = None) -> tuple[int, str]:
        """Start or resume it, to the end; return exit code and stderr."""
        return super().go(fault or "worker_faults:without_workers", *arguments, resume=resume)


def write_images(root: Path) -> None:
    """Write noise with a bright bar, whose position gives the class."""
    random = np.random.default_rng(0)
    for bar, name in ((3, "cat"), (10, "dog")):
        (root / name).mkdir(parents=True)
        for number in range(IMAGES):
            pixels = random.integers(0, 100, (20, 18, 3), np.uint8)
            pixels[bar : bar + 4] += 140
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")


@pytest.fixture(scope="module")
def reference(reference_runs: ReferenceRuns) -> Path:
    """Return the folder of a run whose workers do not fail."""
    write_images(reference_runs.folder / str(len(reference_runs.made)) / "images")
    return reference_runs.of(*CHANGES).run_dir


def run_in(launcher: Launcher, work_dir: Path) -> Run:
    """Return a run in a folder with its images."""
    write_images(work_dir / "images")
    return Images(launcher, work_dir, *CHANGES[:1], CHANGES[1:])


def left_behind(work_dir: Path) -> str:
    """Wait for the workers to end; return those that do not."""
    pids = json.loads((work_dir / "pids").read_text())
    for _ in range(600):
        left = [pid for pid in pids if is_alive(pid)]
        if not left:
            return ""
        time.sleep(0.1)
    return f"processes {left} of {pids} are left"


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def problem_after_failure(run: Run, reference: Path) -> str:
    """Resume a failed run without workers, and return what is wrong with it."""
    for path in list_checkpoints(run.checkpoints):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{path.name} is no checkpoint: {error.what}"
    if not run.has_checkpoint:
        return "there is no checkpoint"
    (run.run_dir / "error.log").unlink(missing_ok=True)
    return run.problem_after_resume(reference)


def problem_with_error(ended: tuple[int, str], code: int, *named: str) -> str:
    """Return what is wrong with how a run ended."""
    if ended[0] != code or not all(each in ended[1] for each in named):
        return f"exit {ended[0]}: {ended[1]}"
    return message_problem(ended[1])


SIGNALS = [
    pytest.param(to, number, step, marks=marks, id=f"{to}-{number.name}-{step}")
    for to, number, step, marks in [
        ("worker", signal.SIGKILL, 3, ()),
        ("worker", signal.SIGSTOP, 16, EVERY),
        *(("worker", signal.SIGKILL, step, EVERY) for step in (1, 2, 5, 8, 15, 16)),
        *(("worker", number, 4, EVERY) for number in (signal.SIGSEGV, signal.SIGABRT)),
        *(("all workers", number, 4, EVERY) for number in (signal.SIGKILL, signal.SIGSTOP)),
        ("worker", signal.SIGSTOP, 2, EVERY),
    ]
]


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_to_every_process_of_a_job_leaves_the_workers_to_the_run(
    launcher: Launcher, reference: Path, work_dir: Path, tally: Tally, number: signal.Signals
) -> None:
    run = run_in(launcher, work_dir)
    code, stderr = run.go("worker_faults:send_at_step", 4, number, "all workers and the server")
    wrong = f"exit {code}: {stderr}" * bool(code) or difference(reference, run.run_dir)
    tally(f"all workers and the server: {number.name} during an epoch", wrong)
    assert not wrong


@pytest.mark.parametrize(("to", "number", "step"), SIGNALS)
def test_a_worker_that_dies_or_hangs_ends_a_run_that_can_be_resumed(
    launcher: Launcher,
    reference: Path,
    work_dir: Path,
    tally: Tally,
    to: str,
    number: signal.Signals,
    step: int,
) -> None:
    run = run_in(launcher, work_dir)
    ended = run.go("worker_faults:send_at_step", step, number, to)
    named = "worker_timeout_s" if number == signal.SIGSTOP else "worker"
    wrong = (
        problem_with_error(ended, 8, named)
        or left_behind(work_dir)
        or problem_after_failure(run, reference)
    )
    what = f"{to.replace('worker', 'a worker', 1) if to == 'worker' else to}: {number.name}"
    tally(f"{what} during an epoch", wrong)
    assert not wrong


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_fails_before_the_first_step_leaves_no_run(
    launcher: Launcher, work_dir: Path, tally: Tally, number: signal.Signals
) -> None:
    run = run_in(launcher, work_dir)
    ended = run.go("worker_faults:send_in_scan", number)
    wrong = problem_with_error(ended, 8, "worker") or left_behind(work_dir)
    wrong = wrong or "it left a folder" * run.run_dir.exists()
    tally(f"a worker: {number.name} while the images are scanned", wrong)
    assert not wrong


@pytest.mark.faults
@pytest.mark.parametrize("step", [4, 17])
def test_workers_end_with_a_run_that_is_killed(
    launcher: Launcher, reference: Path, work_dir: Path, tally: Tally, step: int
) -> None:
    run = run_in(launcher, work_dir)
    code, stderr = run.go("worker_faults:send_at_step", step, signal.SIGKILL, "itself")
    wrong = f"exit {code}: {stderr}" * (code != -signal.SIGKILL)
    wrong = wrong or left_behind(work_dir) or problem_after_failure(run, reference)
    tally("the run is killed while a worker hangs", wrong)
    assert not wrong


@pytest.mark.parametrize(
    ("damage", "workers"),
    [
        ("garbage", 0),
        pytest.param("cut", 0, marks=EVERY),
        pytest.param("missing", 0, marks=EVERY),
        pytest.param("garbage", 2, marks=EVERY),
        pytest.param("cut", 2, marks=EVERY),
        pytest.param("missing", 2, marks=EVERY),
    ],
)
def test_an_image_damaged_while_it_is_trained_with_is_named_and_can_be_repaired(
    launcher: Launcher, reference: Path, work_dir: Path, tally: Tally, damage: str, workers: int
) -> None:
    run = run_in(launcher, work_dir)
    shutil.copytree(work_dir / "images", work_dir / "copy")
    ended = run.go("worker_faults:damage_at_step", 5, damage, "images/dog", workers > 0)
    wrong = problem_with_error(ended, 3, "images/dog/")
    if damage != "missing":  # fewer images are other data, which has another message
        wrong = wrong or problem_with_error(run.go(), 3, "dog/")
    shutil.copytree(work_dir / "copy", work_dir / "images", dirs_exist_ok=True)
    wrong = wrong or problem_after_failure(run, reference)
    tally(f"images {damage} while it runs, {workers} workers", wrong)
    assert not wrong
