"""A disk that is full, read-only or gone: exit 5, a sound checkpoint, a resume as if it was not."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from launcher import Launcher
from small_run import CONFIG, SmallRun, differences, unsound, wrong_words

Tally = Callable[..., None]
Change = tuple[str, str]  # its name, and the path below the run's folder

REMOVALS = ("unlink", "rmdir")  # of what is no longer needed; one that fails may be let be
OWN_MOUNTS = ("unshare", "--mount", "--map-root-user")
MANY = 130  # changes at least that the small run makes
LIMITS = (0, 100, 480, 700, 1_500, 4_000, 6_000, 15_000, 24_000, 30_000, 38_000)  # bytes of a file
SIZES = tuple(f"size={pages * 4}k" for pages in (1, 2, 4, 8, 12, 16, 24, 32, 40, 48))
ROOMS = (*SIZES, *(f"nr_inodes={number}" for number in (2, 4, 6, 9, 12, 18, 24)))


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


def mount(mounting: Launcher, *words: object) -> None:
    """Mount for all runs that follow."""
    assert mounting.run(
        ["--version"], Path.cwd(), "storage_plants:mount", list(map(str, words))
    ) == (0, "")


def changes_of(run: SmallRun, *words: object) -> list[Change]:
    """Return all changes that the run makes in its folder."""
    told = run.folder / "changes.json"
    arguments = [str(run.run_dir), str(told)]
    code, said = run.fit(*words, plant="storage_plants:count_changes", arguments=arguments)
    assert code == 0, said
    return [(name, path) for name, path in json.loads(told.read_text())]


def wrong_after(run: SmallRun, golden: Path, has_begun: bool) -> str:
    """Return what is wrong with what a failed run leaves, now that the disk is well again."""
    if wrong := unsound(run.checkpoints):
        return wrong
    if has_begun or any(run.checkpoints.glob("step-*")):
        return run.wrong_end(golden)
    return wrong_words(run.resume(), 4, run.run_dir)


def wrong_with_refusal(
    run: SmallRun, golden: Path, change: Change, has_begun: bool, words: list[str], *how: object
) -> str:
    """Let a change fail, and return what is wrong with what became of it."""
    ended = run.fit(*words, plant="storage_plants:refuse", arguments=[str(run.run_dir), *how])
    if ended[0] == 0 and change[0] in REMOVALS:
        return differences(golden, run.seen)
    wrong = wrong_words(ended, 5, run.run_dir)
    if not wrong and list(run.checkpoints.glob(".unfinished-*")) and not how[-1]:
        wrong = "what an unfinished checkpoint took is not given back"
    return wrong or wrong_after(run, golden, has_begun)


def try_refusals(
    whole: SmallRun, golden: Path, tally: Tally, number: int, chosen: Callable[..., Any]
) -> list[str]:
    """Let changes of a run fail, each in a run of its own, and return what was wrong.

    whole   a run to begin with; where it is there already, runs are gone on with from a copy of it
    chosen  picks trials of (number of the change, whether it lasts) from all there are
    """
    words = ["--resume"] * whole.run_dir.exists()
    before = SmallRun(whole.launcher, whole.folder, "before")
    if words:
        shutil.copytree(whole.run_dir, before.run_dir)
    changes = changes_of(whole, *words)
    begun = 0 if words else changes.index(("rename", "/checkpoints/step-000000")) + 1
    found = []
    for at, lasting in chosen([(at, lasts) for at in range(len(changes)) for lasts in (0, 1)]):
        run = SmallRun(whole.launcher, whole.folder, f"run-{at}-{lasting:d}")
        if words:
            shutil.copytree(before.run_dir, run.run_dir)
        how = [at, number, bool(lasting)]
        wrong = wrong_with_refusal(run, golden, changes[at], at >= begun, words, *how)
        shutil.rmtree(run.run_dir, ignore_errors=True)
        name = errno.errorcode[number]
        told = f"{name} at change {at}, {' '.join(changes[at])}, {lasting=}: {wrong}"
        tally(f"{name} at a change on the disk{', resumed' * bool(words)}", told * bool(wrong))
        found += [told] * bool(wrong)
    assert len(changes) > (MANY // 2 if words else MANY)
    return found


def every(step: int) -> Callable[[list[Any]], list[Any]]:
    """Return what picks every n-th trial; n is odd, so that they last by turns."""
    return lambda trials: trials[::step]


def each(values: Sequence[Any], by_default: int) -> list[Any]:
    """Return parameters of a test, of which every n-th one is tried by default."""
    marks = ((), pytest.mark.faults)
    return [
        pytest.param(value, marks=marks[number % by_default > 0])
        for number, value in enumerate(values)
    ]


def stopped(run: SmallRun) -> SmallRun:
    """Return a run that was killed before its fifth step was settled."""
    code, said = run.fit(plant="storage_plants:at_step", arguments=[5, "kill"])
    assert code == -9, said
    return run


def test_a_disk_that_is_full_at_some_change_leaves_a_run_that_goes_on(
    launcher: Launcher, golden: Path, room: Path, tally: Tally
) -> None:
    whole = SmallRun(launcher, room, "whole")
    assert try_refusals(whole, golden, tally, errno.ENOSPC, every(25)) == []


def test_a_disk_that_is_full_while_a_run_goes_on_leaves_one_that_goes_on(
    launcher: Launcher, golden: Path, room: Path, tally: Tally
) -> None:
    whole = stopped(SmallRun(launcher, room, "whole"))
    assert try_refusals(whole, golden, tally, errno.ENOSPC, every(37)) == []


@pytest.mark.faults
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_refuses_at_every_change_leaves_a_run_that_goes_on(
    launcher: Launcher, golden: Path, room: Path, tally: Tally, number: int
) -> None:
    chosen = every(1 if number == errno.ENOSPC else 3)
    assert try_refusals(SmallRun(launcher, room, "whole"), golden, tally, number, chosen) == []


@pytest.mark.faults
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_at_every_change_of_a_resumed_run_leaves_one_that_goes_on(
    launcher: Launcher, golden: Path, room: Path, tally: Tally, number: int
) -> None:
    whole = stopped(SmallRun(launcher, room, "whole"))
    chosen = every(1 if number == errno.ENOSPC else 3)
    assert try_refusals(whole, golden, tally, number, chosen) == []


@pytest.mark.parametrize("size", each(LIMITS, 5))
def test_a_limit_on_files_leaves_a_run_that_goes_on(
    launcher: Launcher, golden: Path, room: Path, tally: Tally, size: int
) -> None:
    run, pipe = SmallRun(launcher, room), room / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    code, _ = run.fit(plant="storage_plants:limit_files", arguments=[size, str(pipe)])
    said = os.read(reader, 2**16).decode()
    os.close(reader)
    wrong = wrong_words((code, said), 5, run.run_dir, "File too large")
    wrong = wrong or wrong_after(run, golden, has_begun=size > LIMITS[-3])
    tally("a limit on the size of files", wrong)
    assert wrong == ""


@pytest.mark.parametrize("size", each(ROOMS, 6))
def test_a_small_disk_leaves_a_run_that_goes_on_once_there_is_room(
    mounting: Launcher, golden: Path, room: Path, tally: Tally, size: str
) -> None:
    (room / "disk").mkdir()
    run = SmallRun(mounting, room, "disk/run")
    mount(mounting, "-t", "tmpfs", "-o", size, "none", room / "disk")
    ended = run.fit()
    wrong = wrong_words(ended, 5, room / "disk", "No space left")
    mount(mounting, "-o", "remount,size=8m,nr_inodes=0", room / "disk")
    wrong = wrong or wrong_after(run, golden, has_begun=size in (SIZES[-1], ROOMS[-1]))
    tally("a small disk", wrong)
    assert wrong == ""


def test_a_read_only_folder_is_told_when_a_run_begins_or_goes_on(
    mounting: Launcher, golden: Path, room: Path, tally: Tally
) -> None:
    run = SmallRun(mounting, room, "disk/run")
    (room / "disk").mkdir()
    mount(mounting, "-t", "tmpfs", "none", room / "disk")
    mount(mounting, "-o", "remount,ro", room / "disk")
    wrong = wrong_words(run.fit(), 5, run.run_dir, "Read-only file system")
    mount(mounting, "-o", "remount,rw", room / "disk")
    stopped(run)
    mount(mounting, "-o", "remount,ro", room / "disk")
    wrong = wrong or wrong_words(run.resume(), 5, run.run_dir, "Read-only file system")
    code, said = mounting.run(["evaluate", run.run_dir], room)
    wrong = wrong or wrong_words((code, said), 5, run.run_dir, "Read-only file system")
    assert "test/accuracy" in run.said()
    mount(mounting, "-o", "remount,rw", room / "disk")
    wrong = wrong or run.wrong_end(golden)
    tally("a read-only folder", wrong)
    assert wrong == ""


@pytest.mark.parametrize("step", each((2, 5, 7, 8), 3))
def test_checkpoints_that_become_read_only_while_it_runs(
    mounting: Launcher, golden: Path, room: Path, tally: Tally, step: int
) -> None:
    run = SmallRun(mounting, room)
    arguments = [step, "make read-only", str(run.run_dir / "checkpoints")]
    ended = run.fit(plant="storage_plants:at_step", arguments=arguments)
    wrong = wrong_words(ended, 5, run.run_dir / "checkpoints", "Read-only file system")
    wrong = wrong or unsound(run.checkpoints)
    wrong = wrong or wrong_words(run.resume(), 5, run.run_dir, "Read-only file system")
    mount(mounting, "-o", "remount,bind,rw", run.run_dir / "checkpoints")
    wrong = wrong or run.wrong_end(golden)
    tally("checkpoints read-only", wrong)
    assert wrong == ""


@pytest.mark.parametrize("step", each((2, 5, 7, 8), 3))
def test_a_run_whose_folder_is_removed_says_so_and_makes_no_half_of_one(
    launcher: Launcher, room: Path, tally: Tally, step: int
) -> None:
    run = SmallRun(launcher, room)
    arguments = [step, "remove", str(run.run_dir)]
    ended = run.fit(plant="storage_plants:at_step", arguments=arguments)
    wrong = wrong_words(ended, 5, run.run_dir, "removed")
    wrong = wrong or "there is a folder again" * run.run_dir.exists()
    wrong = wrong or wrong_words(run.resume(), 4, run.run_dir)
    tally("the run's folder removed while it runs", wrong)
    assert wrong == ""


@pytest.mark.parametrize("name", ["metrics.jsonl", "tensorboard"])
def test_a_run_whose_log_is_removed_says_so_and_can_be_gone_on_with(
    launcher: Launcher, room: Path, tally: Tally, name: str
) -> None:
    run = SmallRun(launcher, room)
    arguments = [5, "remove", str(run.run_dir / name)]
    ended = run.fit(plant="storage_plants:at_step", arguments=arguments)
    wrong = wrong_words(ended, 5, run.run_dir / name, "removed") or unsound(run.checkpoints)
    code, said = run.resume()
    wrong = wrong or said
    tally("the run's folder removed while it runs", wrong)
    assert (wrong, code) == ("", 0)
    assert f"{name.removesuffix('tensorboard')}" in run.said()
    assert "lines are lost" in run.said()


def test_checkpoints_that_are_removed_are_written_anew(
    launcher: Launcher, golden: Path, room: Path, tally: Tally
) -> None:
    run = SmallRun(launcher, room)
    arguments = [5, "remove", str(run.run_dir / "checkpoints")]
    code, said = run.fit(plant="storage_plants:at_step", arguments=arguments)
    wrong = said or differences(golden, run.run_dir)
    tally("the run's folder removed while it runs", wrong)
    assert (wrong, code) == ("", 0)


def test_a_file_in_place_of_the_checkpoints_is_named(
    launcher: Launcher, room: Path, tally: Tally
) -> None:
    run = SmallRun(launcher, room)
    arguments = [5, "put a file", str(run.run_dir / "checkpoints")]
    ended = run.fit(plant="storage_plants:at_step", arguments=arguments)
    wrong = wrong_words(ended, 5, run.checkpoints)
    wrong = wrong or wrong_words(run.resume(), 4, run.checkpoints)
    tally("a file in place of the checkpoints", wrong)
    assert wrong == ""
    assert run.checkpoints.read_text() == "no folder"


def test_output_that_a_full_disk_refuses_while_a_run_goes_on_ends_it(
    launcher: Launcher, golden: Path, room: Path, tally: Tally
) -> None:
    run = SmallRun(launcher, room)
    ended = run.fit(plant="storage_plants:at_step", arguments=[5, "fill the output"])
    wrong = wrong_words(ended, 5, "No space left") or wrong_after(run, golden, has_begun=True)
    tally("standard output on a full disk", wrong)
    assert wrong == ""


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
    launcher: Launcher, golden: Path, room: Path, tally: Tally, words: list[str]
) -> None:
    (room / "config.yaml").write_text(CONFIG)
    shutil.copytree(golden, room / "run")
    ended = launcher.run(words, room, "storage_plants:fill_output")
    wrong = wrong_words(ended, 5, "output", "No space left")
    tally("standard output on a full disk", wrong)
    assert wrong == ""
    assert not (room / "runs").exists()
