"""Disks that are full, small, read-only or gone.

Each change that a run makes to its folder, and that a resumed run makes, is refused in a run of its
own: once, and from then on for all that needs room. Then real limits: on the size of files
(RLIMIT_FSIZE), and file systems (tmpfs) of a few pages or a few files, or mounted read-only; and
folders that are removed, or replaced by a file, while the run writes into them. The run must end
with exit code 5 and name the place; nothing unfinished may stand under a checkpoint's name.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from golden_runs import Goldens, Run, difference, fresh, operations_of, wrong_words
from launcher import Launcher

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import list_checkpoints, read_checkpoint

Tally = Callable[..., None]

EVERY = pytest.mark.faults  # not by default
SHORT = "train.steps=8"
LET_BE = ("unlink", "rmdir", "mkdir")  # of what nobody needs, or of a folder that is there
OWN_MOUNTS = ("unshare", "--mount", "--map-root-user")
LIMITS = (0, 100, 480, 700, 1_500, 4_000, 6_000, 13_000, 24_000, 30_000, 36_000)  # bytes of a file
SIZES = tuple(f"size={pages * 4}k" for pages in (1, 2, 4, 8, 12, 16, 20, 24, 28, 34))
ROOMS = (*SIZES, *(f"nr_inodes={number}" for number in (2, 4, 6, 9, 12, 16, 20)))


def each(values: Sequence[Any], by_default: int) -> list[Any]:
    """Return parameters of a test, of which every n-th one is tried by default."""
    return [
        pytest.param(value, marks=EVERY if number % by_default else (), id=f"{value}")
        for number, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def mounting() -> Iterator[Launcher]:
    """Return a server of runs whose mounts are its own."""
    try:
        tried = subprocess.run([*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/mnt"], check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if tried.returncode:
        pytest.skip("file systems cannot be mounted here")
    with Launcher(OWN_MOUNTS) as started:
        yield started


@dataclass
class MountedRun(Run):
    """A run whose folder is mounted in its server alone."""

    @property
    def run_dir(self) -> Path:
        """Its folder, as this process sees it."""
        return self.launcher.seen(self.folder / "run")

    def mount(self, *words: object) -> None:
        """Mount for all commands that follow."""
        plant = ("storage_plants:mount", [*map(str, words)])
        assert self.launcher.run(["--version"], self.folder, *plant) == (0, "")


def wrong_refusal(ended: tuple[int, str], *named: object, code: int = 5) -> str:
    """Return what is wrong with how a command ended that names what it could not store."""
    missing = [str(each) for each in named if str(each) not in ended[1]]
    if ended[0] != code or missing:
        return f"exit {ended[0]} instead of {code}, unnamed: {missing}: {ended[1]}"
    return wrong_words(ended[1]) or ("" if "  try: " in ended[1] else f"no advice: {ended[1]}")


def wrong_after(run: Run, golden: Path, has_begun: bool = False) -> str:
    """Return what is wrong with what a failed run leaves, now that the disk is well again."""
    for path in list_checkpoints(run.checkpoints):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{path.name} is no checkpoint: {error.what} {error.why}"
    if has_begun and not run.has_begun:
        return "there is no checkpoint"
    (run.run_dir / "error.log").unlink(missing_ok=True)
    return run.wrong_end(golden)


def wrong_when_refused(
    run: Run, golden: Path, operation: str, has_begun: bool, at: int, number: int, lasting: bool
) -> str:
    """Let an operation fail, and return what is wrong with what became of it."""
    ended = run.go("storage_plants:refuse", at, number, lasting)
    if ended[0] == 0 and operation in LET_BE:
        return difference(golden, run.run_dir)
    wrong = wrong_refusal(ended, "run", os.strerror(number))
    if not wrong and not lasting and list(run.checkpoints.glob(".unfinished-*")):
        wrong = "what an unfinished checkpoint took is not given back"
    return wrong or wrong_after(run, golden, has_begun)


def try_refusals(whole: Run, golden: Path, tally: Tally, number: int, step: int) -> list[str]:
    """Let operations of a run fail, each in a run of its own, and return what was wrong.

    whole  what they begin as, which may be a run to go on with
    step   every n-th is tried, once and lasting; n is odd, so that they last by turns
    """
    resumed = whole.has_begun
    kept = whole.folder.with_name("kept")
    shutil.copytree(whole.folder, kept)
    operations = operations_of(whole, resume=resumed)
    names = [f"{name} {path}" for name, path in operations]
    begun = 0 if resumed else names.index("rename run/checkpoints/.unfinished-step-000000") + 1
    found, kind = [], f"{errno.errorcode[number]} at an operation on a file{', resumed' * resumed}"
    for at, lasting in [(at, lasts) for at in range(len(names)) for lasts in (False, True)][::step]:
        run = fresh(whole.launcher, whole.folder.parent, f"{at}-{lasting}", whole.kind, SHORT)
        shutil.copytree(kept, run.folder, dirs_exist_ok=True)
        wrong = wrong_when_refused(run, golden, operations[at][0], at >= begun, at, number, lasting)
        told = f"{names[at]}, number {at}{', and on' * lasting}: {wrong}"
        tally(kind, told * bool(wrong))
        found += [told] * bool(wrong)
    assert len(names) > (50 if resumed else 100)
    return found


def stopped(launcher: Launcher, room: Path, kind: str = "mlp") -> Run:
    """Return a run that was killed after its fifth step."""
    run = Run(launcher, room / "whole", kind, (SHORT,))
    code, said = run.go("kill_plants:kill_after_step", 5)
    assert code == -9, said
    return run


def test_a_run_that_is_refused_an_operation_can_be_gone_on_with(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally
) -> None:
    whole, golden = Run(launcher, room / "whole", "mlp", (SHORT,)), goldens.of("mlp", SHORT)
    assert try_refusals(whole, golden.run_dir, tally, errno.ENOSPC, 25) == []


def test_a_resumed_run_that_is_refused_an_operation_can_be_gone_on_with(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally
) -> None:
    golden = goldens.of("mlp", SHORT)
    assert try_refusals(stopped(launcher, room), golden.run_dir, tally, errno.ENOSPC, 37) == []


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
def test_a_run_that_is_refused_any_operation_can_be_gone_on_with(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Tally,
    kind: str,
    number: int,
    step: int,
) -> None:
    whole, golden = Run(launcher, room / "whole", kind, (SHORT,)), goldens.of(kind, SHORT)
    assert try_refusals(whole, golden.run_dir, tally, number, step) == []


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "number", "step"), FULL[:4])
def test_a_resumed_run_that_is_refused_any_operation_can_be_gone_on_with(
    launcher: Launcher,
    goldens: Goldens,
    room: Path,
    tally: Tally,
    kind: str,
    number: int,
    step: int,
) -> None:
    whole, golden = stopped(launcher, room, kind), goldens.of(kind, SHORT)
    assert try_refusals(whole, golden.run_dir, tally, number, step) == []


@pytest.mark.parametrize("size", each(LIMITS, 5))
def test_a_limit_on_files_leaves_a_run_that_goes_on(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally, size: int
) -> None:
    run, golden, pipe = (
        Run(launcher, room, "mlp", (SHORT,)),
        goldens.of("mlp", SHORT),
        room / "pipe",
    )
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    code, _ = run.go("storage_plants:limit_files", size, str(pipe))
    said = os.read(reader, 2**16).decode()
    os.close(reader)
    wrong = wrong_refusal((code, said), "run", "File too large")
    wrong = wrong or wrong_after(run, golden.run_dir, has_begun=size == LIMITS[-1])
    tally("a limit on the size of files", wrong)
    assert not wrong


@pytest.mark.parametrize("size", each(ROOMS, 8))
def test_a_small_disk_leaves_a_run_that_goes_on_once_there_is_room(
    mounting: Launcher, goldens: Goldens, room: Path, tally: Tally, size: str
) -> None:
    run, golden = MountedRun(mounting, room, "mlp", (SHORT,)), goldens.of("mlp", SHORT)
    (room / "run").mkdir()
    run.mount("-t", "tmpfs", "-o", size, "none", room / "run")
    wrong = wrong_refusal(run.go(resume=False), "run", "No space left")
    run.mount("-o", "remount,size=8m,nr_inodes=0", room / "run")
    wrong = wrong or wrong_after(run, golden.run_dir, has_begun=size in (SIZES[-1], ROOMS[-1]))
    tally(f"a file system with {size.partition('=')[0]} of a few", wrong)
    assert not wrong


def test_a_read_only_folder_is_told_when_a_run_begins_or_goes_on(
    mounting: Launcher, goldens: Goldens, room: Path, tally: Tally
) -> None:
    run, golden = MountedRun(mounting, room, "mlp", (SHORT,)), goldens.of("mlp", SHORT)
    (room / "run").mkdir()
    run.mount("-t", "tmpfs", "-o", "ro", "none", room / "run")
    wrong = wrong_refusal(run.go(resume=False), "run", "Read-only file system")
    run.mount("-o", "remount,rw", room / "run")
    assert run.go("kill_plants:kill_after_step", 5)[0] == -9
    run.mount("-o", "remount,ro", room / "run")
    wrong = wrong or wrong_refusal(run.go(), "run", "Read-only file system")
    ended = mounting.run(["evaluate", "run"], room)
    wrong = wrong or wrong_refusal(ended, "run/pictures", "Read-only file system")
    assert "test/accuracy" in (room / "stdout.txt").read_text()
    run.mount("-o", "remount,rw", room / "run")
    wrong = wrong or wrong_after(run, golden.run_dir, has_begun=True)
    tally("a folder that is read-only when a run begins, goes on, or is evaluated", wrong)
    assert not wrong


@pytest.mark.parametrize("step", each((4, 1, 5, 7, 8), 5))
def test_checkpoints_may_become_read_only_while_it_runs(
    mounting: Launcher, goldens: Goldens, room: Path, tally: Tally, step: int
) -> None:
    run, golden = MountedRun(mounting, room, "mlp", (SHORT,)), goldens.of("mlp", SHORT)
    ended = run.go("storage_plants:at_step", step, "make read-only", "run/checkpoints")
    wrong = wrong_refusal(ended, "run/checkpoints", "Read-only file system")
    wrong = wrong or wrong_refusal(run.go(), "run/checkpoints", "Read-only file system")
    run.mount("-o", "remount,bind,rw", room / "run" / "checkpoints")
    wrong = wrong or wrong_after(run, golden.run_dir, has_begun=True)
    tally("checkpoints/ becomes read-only while it runs", wrong)
    assert not wrong


@pytest.mark.parametrize("step", each((4, 1, 5, 7, 8), 5))
def test_a_run_whose_folder_is_removed_says_so_and_makes_no_half_of_one(
    launcher: Launcher, room: Path, tally: Tally, step: int
) -> None:
    run = Run(launcher, room, "mlp", (SHORT,))
    wrong = wrong_refusal(run.go("storage_plants:at_step", step, "remove", "run"), "run", "removed")
    wrong = wrong or "there is half a folder again" * run.run_dir.exists() or run.wrong_end(room)
    tally("the run's folder is removed while it runs", wrong)
    assert not wrong


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_run_whose_log_is_removed_says_so_and_can_be_gone_on_with(
    launcher: Launcher, room: Path, tally: Tally, name: str
) -> None:
    run = Run(launcher, room, "mlp", (SHORT,))
    ended = run.go("storage_plants:at_step", 5, "remove", f"run/{name}")
    wrong = wrong_refusal(ended, f"run/{name}", "removed")
    code, said = run.go()
    is_told = f"{name}" in (told := (room / "stdout.txt").read_text()) and "lines are lost" in told
    wrong = wrong or f"resumed: {code} {said}" * bool(code) or "loss untold" * (not is_told)
    tally(f"{name} is removed while it runs", wrong)
    assert not wrong


def test_checkpoints_that_are_removed_are_written_anew(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally
) -> None:
    run, golden = Run(launcher, room, "mlp", (SHORT,)), goldens.of("mlp", SHORT)
    code, said = run.go("storage_plants:at_step", 5, "remove", "run/checkpoints")
    wrong = f"exit {code}: {said}" * bool(code) or difference(golden.run_dir, run.run_dir)
    tally("checkpoints/ is removed while it runs", wrong)
    assert not wrong


def test_a_file_in_place_of_the_checkpoints_is_named(
    launcher: Launcher, room: Path, tally: Tally
) -> None:
    run = Run(launcher, room, "mlp", (SHORT,))
    ended = run.go("storage_plants:at_step", 5, "put a file", "run/checkpoints")
    wrong = wrong_refusal(ended, "run/checkpoints")
    wrong = wrong or wrong_refusal(run.go(resume=True), "run/checkpoints", code=4)
    tally("a file takes the place of checkpoints/ while it runs", wrong)
    assert not wrong
    assert run.checkpoints.read_text() == "no folder"


def test_a_run_whose_output_a_full_disk_refuses_can_be_gone_on_with(
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally
) -> None:
    run, golden = Run(launcher, room, "mlp", (SHORT,)), goldens.of("mlp", SHORT)
    ended = run.go("storage_plants:at_step", 5, "fill the output")
    wrong = wrong_refusal(ended, "No space left") or wrong_after(run, golden.run_dir, True)
    tally("standard output leads to a full disk", wrong)
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
    launcher: Launcher, goldens: Goldens, room: Path, tally: Tally, words: list[str]
) -> None:
    shutil.copytree(goldens.of("mlp", SHORT).run_dir.parent, room, dirs_exist_ok=True)
    wrong = wrong_refusal(launcher.run(words, room, "storage_plants:fill_output"), "output")
    tally("standard output leads to a full disk", wrong)
    assert not wrong
    assert not (room / "runs").exists()
