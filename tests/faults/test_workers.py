"""Loader workers and the images that they read."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from golden_runs import Run, wrong_words
from image_sets import write_folder
from launcher import Launcher

from bptrain.verify.same_run import compare_runs

CONFIG = """\
device: cpu
data:
  kind: image_folder
  root: images
  size: 16
  batch_size: 4
  memory_bytes: 0
  workers: {workers}
  worker_timeout_s: 2
  augment: [{{kind: flip}}]
model: {{kind: mlp, hidden: [8], dropout: 0.2}}
train: {{epochs: 2}}
monitor: {{log_every: 2}}
checkpoint: {{every_steps: 5, keep_last: 2}}
"""
IMAGES = 48  # of each class: a worker has decoded some, and not yet all, when it is hurt
STEPS = (2, 8, 24)  # of 38: before a checkpoint, behind it, and within the second epoch


def run_of(launcher: Launcher, folder: Path, workers: int) -> Run:
    """Return a run over a folder of images, not begun."""
    run = Run(launcher, folder, "mlp")
    (folder / "config.yaml").write_text(CONFIG.format(workers=workers))
    write_folder(folder / "images", IMAGES)
    return run


@pytest.fixture
def golden(launcher: Launcher, room: Path) -> Path:
    """Return the run left alone; how many processes decode does not change its numbers."""
    run = run_of(launcher, room / "golden", workers=0)
    code, said = run.go()
    assert code == 0, said
    return run.run_dir


def wrong(run: Run, golden: Path, code: int, said: str, expected: int) -> str:
    """Return what is wrong with how a run ended, and with how it goes on; "" for nothing."""
    if code != expected:
        return f"exit {code}: {said}"
    unclear = wrong_words(said) if expected > 0 else ""
    code, said = run.go(resume=True)
    if unclear or code:
        return unclear or f"resume ended with {code}: {said}"
    compared = compare_runs(golden, run.run_dir)
    return "; ".join(f"{each.what}: {each.difference}" for each in compared if each.difference)


@pytest.mark.parametrize(
    ("number", "steps"),
    [
        (signal.SIGKILL, STEPS[1:2]),
        pytest.param(signal.SIGKILL, STEPS, marks=pytest.mark.faults),
        pytest.param(signal.SIGSTOP, STEPS, marks=pytest.mark.faults),
    ],
)
def test_a_run_whose_workers_die_or_hang_says_so_and_goes_on_when_resumed(
    launcher: Launcher,
    room: Path,
    golden: Path,
    tally: Callable[..., None],
    number: int,
    steps: tuple[int, ...],
) -> None:
    failures = []
    for step in steps:
        run = run_of(launcher, room / f"{number}-{step}", workers=1)
        code, said = run.go("worker_plants:signal_workers_after", step, int(number))
        what = wrong(run, golden, code, said, expected=8)
        tally("a worker killed" if number == signal.SIGKILL else "a worker that hangs", what)
        failures += [f"step {step}: {what}"] * bool(what)
    assert failures == []


@pytest.mark.parametrize(
    "steps", [STEPS[1:2], pytest.param(STEPS, marks=pytest.mark.faults)], ids=["one", "all"]
)
def test_images_that_are_damaged_while_a_run_reads_them_end_it_until_they_are_whole_again(
    launcher: Launcher, room: Path, golden: Path, tally: Callable[..., None], steps: tuple[int, ...]
) -> None:
    failures = []
    for step in steps:
        run = run_of(launcher, room / f"damaged-{step}", workers=0)
        images = run.folder / "images"
        code, said = run.go("worker_plants:damage_images_after", step, str(images))
        for path in images.rglob("*.whole"):
            path.rename(path.with_suffix(".png"))
        what = wrong(run, golden, code, said, expected=3)
        tally("images damaged after they were looked through", what)
        failures += [f"step {step}: {what}"] * bool(what)
    assert failures == []


@pytest.mark.faults
@pytest.mark.parametrize("step", STEPS)
def test_workers_do_not_outlive_a_run_that_is_killed(
    launcher: Launcher, room: Path, golden: Path, tally: Callable[..., None], step: int
) -> None:
    run = run_of(launcher, room / "killed", workers=2)
    code, said = run.go("worker_plants:die_after", step, str(room / "workers"))
    left = [int(number) for number in (room / "workers").read_text().split()]
    for _ in range(300):
        left = [number for number in left if psutil.pid_exists(number)]
        if not left:
            break
        time.sleep(0.1)
    what = f"{len(left)} processes are left" if left else wrong(run, golden, code, said, -9)
    tally("a run with workers killed", what)
    assert what == ""
