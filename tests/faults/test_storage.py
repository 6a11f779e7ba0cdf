"""Disks that are full, small, read-only or gone.

Each change that a run or a resumed run makes to its folder fails in a separate run: once, or with
all later ones that need space. Then real limits: on the size of files (RLIMIT_FSIZE), file
systems (tmpfs) of 1 to 34 pages or 2 to 20 inodes, or mounted read-only; and folders that are
removed, or replaced by a file, while the run writes into them. The run must end with exit code 5
and name the path; nothing incomplete may have a checkpoint's name.
"""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from launcher import Launcher
from reference_runs import ReferenceRuns, Run, difference, fresh, message_problem, operations_of

from bptrain.errors import CheckpointError
from bptrain.rundir.baselines_file import BASELINES
from bptrain.rundir.checkpoint import list_checkpoints, read_checkpoint

Tally = Callable[..., None]

EVERY = pytest.mark.faults  # not by default
SHORT = "train.steps=8"
MAY_FAIL = ("unlink", "rmdir", "mkdir")  # of a file that is not needed, or of an existing folder
LIMITS = (0, 100, 480, 700, 1_500, 4_000, 6_000, 13_000, 24_000, 30_000, 36_000)  # bytes of a file
SIZES = tuple(f"size={pages * 4}k" for pages in (1, 2, 4, 8, 12, 16, 20, 24, 28, 34))
DISK_LIMITS = (*SIZES, *(f"nr_inodes={number}" for number in (2, 4, 6, 9, 12, 16, 20)))


def each(values: Sequence[Any], by_default: int) -> list[Any]:
    """Return parameters of a test, of which every n-th one is tried by default."""
    return [
        pytest.param(value, marks=EVERY if number % by_default else (), id=f"{value}")
        for number, value in enumerate(values)
    ]


@dataclass
class MountedRun(Run):
    """A run whose folder is mounted for it alone."""

    @property
    def run_dir(self) -> Path:
        """Its folder, as this process sees it."""
        return self.launcher.seen(self.folder / "run")

    def mount(self, *words: object) -> None:
        """Mount a file system for all later commands."""
        mount_fault = ("storage_faults:mount", [*map(str, words)])
        assert self.launcher.run(["--version"], self.folder, *mount_fault) == (0, "")


def problem_with_refusal(ended: tuple[int, str], *named: object, code: int = 5) -> str:
    """Return what is wrong with a command's end: its exit code, what it must name, its advice."""
    missing = [str(each) for each in named if str(each) not in ended[1]]
    if ended[0] != code or missing:
        return f"exit {ended[0]} instead of {code}, unnamed: {missing}: {ended[1]}"
    return message_problem(ended[1]) or ("" if "  try: " in ended[1] else f"no advice: {ended[1]}")


def problem_after_failure(run: Run, reference: Path, has_checkpoint: bool = False) -> str:
    """Resume a failed run, the disk usable again, and return what is wrong with it."""
    for path in list_checkpoints(run.checkpoints):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{path.name} is no checkpoint: {error.what} {error.why}"
    if has_checkpoint and not run.has_checkpoint:
        return "there is no checkpoint"
    (run.run_dir / "error.log").unlink(missing_ok=True)
    return run.problem_after_resume(reference)


def problem_when_refused(
    run: Run,
    reference: Path,
    may_fail: bool,
    has_checkpoint: bool,
    at: int,
    number: int,
    lasting: bool,
) -> str:
    """Make an operation fail, and return what is wrong with the result."""
    ended = run.go("storage_faults:refuse", at, number, lasting)
    if ended[0] == 0 and may_fail:
        if not (run.run_dir / BASELINES).exists():  # said; a resume of the finished run writes it
            return run.problem_after_resume(reference)
        return difference(reference, run.run_dir)
    wrong = problem_with_refusal(ended, "run", os.strerror(number))
    if not wrong and not lasting and list(run.checkpoints.glob(".unfinished-*")):
        wrong = "the unfinished checkpoint is not removed"
    return wrong or problem_after_failure(run, reference, has_checkpoint)


def try_refusals(whole: Run, reference: Path, tally: Tally, number: int, step: int) -> list[str]:
    """Make operations of a run fail, each in a separate run, and return what was wrong.

    whole  what each run is a copy of, which may be a run to resume
    step   every n-th of the pairs (operation, lasting) is tried; n is odd, so that both occur
    """
    resumed = whole.has_checkpoint
    copy = whole.folder.with_name("copy")
    shutil.copytree(whole.folder, copy)
    operations = operations_of(whole, resume=resumed)
    names = [f"{name} {path}" for name, path in operations]
    saved = 0 if resumed else names.index("rename run/checkpoints/.unfinished-step-000000") + 1
    # the report comes last: without it or the baselines the run is finished all the same
    report = names.index("open run/.unfinished-report.html")
    of_baselines = {at for at, name in enumerate(names) if BASELINES in name}
    of_baselines.add(max(of_baselines) + 1)
    assert names[max(of_baselines)] == "fsync run"  # of the folder, which has their name
    found, kind = [], f"{errno.errorcode[number]} at an operation on a file{', resumed' * resumed}"
    for at, lasting in [(at, lasts) for at in range(len(names)) for lasts in (False, True)][::step]:
        run = fresh(whole.launcher, whole.folder.parent, f"{at}-{lasting}", whole.kind, SHORT)
        shutil.copytree(copy, run.folder, dirs_exist_ok=True)
        may_fail = operations[at][0] in MAY_FAIL or at >= report or at in of_baselines
        wrong = problem_when_refused(run, reference, may_fail, at >= saved, at, number, lasting)
        description = f"{names[at]}, number {at}{', and on' * lasting}: {wrong}"
        tally(kind, description * bool(wrong))
        found += [description] * bool(wrong)
    assert len(names) > (50 if resumed else 100)
    return found


def stopped(launcher: Launcher, work_dir: Path, kind: str = "mlp") -> Run:
    """Return a run that was killed after its fifth step."""
    run = Run(launcher, work_dir / "whole", kind, (SHORT,))
    code, stderr = run.go("kill_faults:kill_after_step", 5)
    assert code == -9, stderr
    return run


def test_a_run_that_is_refused_an_operation_can_be_resumed(
    launcher: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally
) -> None:
    whole, reference = (
        Run(launcher, work_dir / "whole", "mlp", (SHORT,)),
        reference_runs.of("mlp", SHORT),
    )
    assert try_refusals(whole, reference.run_dir, tally, errno.ENOSPC, 53) == []


def test_a_resumed_run_that_is_refused_an_operation_can_be_resumed(
    launcher: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally
) -> None:
    reference = reference_runs.of("mlp", SHORT)
    assert (
        try_refusals(stopped(launcher, work_dir), reference.run_dir, tally, errno.ENOSPC, 53) == []
    )


FULL = [
    ("mlp", errno.ENOSPC, 1),
    ("lstm", errno.ENOSPC, 3),
    ("cnn", errno.ENOSPC, 3),
    ("mlp", errno.EIO, 3),
    ("mlp", errno.EDQUOT, 3),
    ("mlp", errno.EROFS, 3),
]


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "number", "step"), FULL)
def test_a_run_that_is_refused_any_operation_can_be_resumed(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    kind: str,
    number: int,
    step: int,
) -> None:
    whole, reference = (
        Run(launcher, work_dir / "whole", kind, (SHORT,)),
        reference_runs.of(kind, SHORT),
    )
    assert try_refusals(whole, reference.run_dir, tally, number, step) == []


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "number", "step"), FULL[:4])
def test_a_resumed_run_that_is_refused_any_operation_can_be_resumed(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    kind: str,
    number: int,
    step: int,
) -> None:
    whole, reference = stopped(launcher, work_dir, kind), reference_runs.of(kind, SHORT)
    assert try_refusals(whole, reference.run_dir, tally, number, step) == []


@pytest.mark.parametrize("size", each(LIMITS, 5))
def test_a_limit_on_files_leaves_a_run_that_can_be_resumed(
    launcher: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally, size: int
) -> None:
    run, reference, pipe = (
        Run(launcher, work_dir, "mlp", (SHORT,), draws=True),
        reference_runs.of("mlp", SHORT, draws=True),
        work_dir / "pipe",
    )
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    code, _ = run.go("storage_faults:limit_files", size, str(pipe))
    stderr = os.read(reader, 2**16).decode()
    os.close(reader)
    wrong = problem_with_refusal((code, stderr), "run", "File too large")
    wrong = wrong or problem_after_failure(
        run, reference.run_dir, has_checkpoint=size == LIMITS[-1]
    )
    tally("a limit on the size of files", wrong)
    assert not wrong


@pytest.mark.parametrize("size", each(DISK_LIMITS, 16))
def test_a_small_disk_leaves_a_run_that_can_be_resumed_once_there_is_space(
    mounting: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally, size: str
) -> None:
    run, reference = (
        MountedRun(mounting, work_dir, "mlp", (SHORT,), draws=True),
        reference_runs.of("mlp", SHORT, draws=True),
    )
    (work_dir / "run").mkdir()
    run.mount("-t", "tmpfs", "-o", size, "none", work_dir / "run")
    wrong = problem_with_refusal(run.go(resume=False), "run", "No space left")
    run.mount("-o", "remount,size=8m,nr_inodes=0", work_dir / "run")
    wrong = wrong or problem_after_failure(
        run, reference.run_dir, has_checkpoint=size in (SIZES[-1], DISK_LIMITS[-1])
    )
    tally(f"a file system with {size.partition('=')[0]} too small", wrong)
    assert not wrong


def test_a_read_only_folder_is_reported_when_a_run_begins_or_resumes(
    mounting: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally
) -> None:
    run, reference = (
        MountedRun(mounting, work_dir, "mlp", (SHORT,)),
        reference_runs.of("mlp", SHORT),
    )
    (work_dir / "run").mkdir()
    run.mount("-t", "tmpfs", "-o", "ro", "none", work_dir / "run")
    wrong = problem_with_refusal(run.go(resume=False), "run", "Read-only file system")
    run.mount("-o", "remount,rw", work_dir / "run")
    assert run.go("kill_faults:kill_after_step", 5)[0] == -9
    run.mount("-o", "remount,ro", work_dir / "run")
    wrong = wrong or problem_with_refusal(run.go(), "run", "Read-only file system")
    ended = mounting.run(["evaluate", "run"], work_dir, draws=False)
    printed = (
        f"no pictures: run/pictures/step-000004: cannot be written: {os.strerror(errno.EROFS)}"
    )
    wrong = wrong or f"evaluate: {ended}" * (ended != (0, f"{printed}\n"))
    assert "test/accuracy" in (work_dir / "stdout.txt").read_text()
    run.mount("-o", "remount,rw", work_dir / "run")
    wrong = wrong or problem_after_failure(run, reference.run_dir, has_checkpoint=True)
    tally("a folder that is read-only when a run starts, resumes, or is evaluated", wrong)
    assert not wrong


@pytest.mark.parametrize("step", each((4, 1, 5, 7, 8), 5))
def test_checkpoints_may_become_read_only_while_it_runs(
    mounting: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally, step: int
) -> None:
    run, reference = (
        MountedRun(mounting, work_dir, "mlp", (SHORT,)),
        reference_runs.of("mlp", SHORT),
    )
    ended = run.go("storage_faults:at_step", step, "make read-only", "run/checkpoints")
    wrong = problem_with_refusal(ended, "run/checkpoints", "Read-only file system")
    wrong = wrong or problem_with_refusal(run.go(), "run/checkpoints", "Read-only file system")
    run.mount("-o", "remount,bind,rw", work_dir / "run" / "checkpoints")
    wrong = wrong or problem_after_failure(run, reference.run_dir, has_checkpoint=True)
    tally("checkpoints/ becomes read-only while it runs", wrong)
    assert not wrong


@pytest.mark.parametrize("step", each((4, 1, 5, 7, 8), 5))
def test_a_run_whose_folder_is_removed_says_so_and_creates_no_incomplete_one(
    launcher: Launcher, work_dir: Path, tally: Tally, step: int
) -> None:
    run = Run(launcher, work_dir, "mlp", (SHORT,))
    wrong = problem_with_refusal(
        run.go("storage_faults:at_step", step, "remove", "run"), "run", "removed"
    )
    wrong = (
        wrong
        or "there is an incomplete folder" * run.run_dir.exists()
        or run.problem_after_resume(work_dir)
    )
    tally("the run's folder is removed while it runs", wrong)
    assert not wrong


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_run_whose_log_is_removed_says_so_and_can_be_resumed(
    launcher: Launcher, work_dir: Path, tally: Tally, name: str
) -> None:
    run = Run(launcher, work_dir, "mlp", (SHORT,))
    ended = run.go("storage_faults:at_step", 5, "remove", f"run/{name}")
    wrong = problem_with_refusal(ended, f"run/{name}", "removed")
    code, stderr = run.go()
    stdout = (work_dir / "stdout.txt").read_text()
    is_reported = name in stdout and "lines are lost" in stdout
    wrong = (
        wrong or f"resumed: {code} {stderr}" * bool(code) or "loss not reported" * (not is_reported)
    )
    tally(f"{name} is removed while it runs", wrong)
    assert not wrong


def test_checkpoints_that_are_removed_are_written_again(
    launcher: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally
) -> None:
    run, reference = Run(launcher, work_dir, "mlp", (SHORT,)), reference_runs.of("mlp", SHORT)
    code, stderr = run.go("storage_faults:at_step", 5, "remove", "run/checkpoints")
    wrong = f"exit {code}: {stderr}" * bool(code) or difference(reference.run_dir, run.run_dir)
    tally("checkpoints/ is removed while it runs", wrong)
    assert not wrong


def test_a_file_in_place_of_the_checkpoints_is_named(
    launcher: Launcher, work_dir: Path, tally: Tally
) -> None:
    run = Run(launcher, work_dir, "mlp", (SHORT,))
    ended = run.go("storage_faults:at_step", 5, "put a file", "run/checkpoints")
    wrong = problem_with_refusal(ended, "run/checkpoints")
    wrong = wrong or problem_with_refusal(run.go(resume=True), "run/checkpoints", code=4)
    tally("a file replaces checkpoints/ while it runs", wrong)
    assert not wrong
    assert run.checkpoints.read_text() == "no folder"


def test_a_run_whose_output_a_full_disk_refuses_can_be_resumed(
    launcher: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally
) -> None:
    run, reference = Run(launcher, work_dir, "mlp", (SHORT,)), reference_runs.of("mlp", SHORT)
    ended = run.go("storage_faults:at_step", 5, "fill the output")
    wrong = problem_with_refusal(ended, "No space left") or problem_after_failure(
        run, reference.run_dir, True
    )
    tally("standard output on a full disk", wrong)
    assert not wrong


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "config.yaml"],
        ["evaluate", "run"],
        ["validate", "config.yaml"],
        ["--version"],
        ["-h"],
    ],
    ids=lambda words: words[0],
)
def test_a_command_whose_output_a_full_disk_refuses_says_so(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    words: list[str],
) -> None:
    shutil.copytree(reference_runs.of("mlp", SHORT).run_dir.parent, work_dir, dirs_exist_ok=True)
    ended = launcher.run(words, work_dir, "storage_faults:fill_output", draws=False)
    wrong = problem_with_refusal(ended, "output")
    tally("standard output on a full disk", wrong)
    assert not wrong
    assert not (work_dir / "runs").exists()
