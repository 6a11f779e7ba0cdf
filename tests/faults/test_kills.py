"""SIGKILL at any moment.

A perceptron, a convolutional network (batch norm, dropout, augmentation, averaged weights) and an
LSTM language model are killed at random moments, from outside by the clock and from inside
after a step and in the middle of a backward pass; before each operation on a file of their folder
(open, write, fsync, rename, unlink, mkdir and the like) from the first to the last, and with each
write half done; before each operation of a run that is being resumed; and ten times in one run.
Without a complete checkpoint there is nothing to resume: `--resume` must then say so with exit
code 4, and must not start from scratch.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from signal import SIGKILL
from time import sleep

import pytest
from launcher import Launcher
from reference_runs import CONFIGS, ReferenceRun, ReferenceRuns, Run, fresh, operations_of

EVERY = pytest.mark.faults  # not by default
KINDS = tuple(CONFIGS)
MOMENTS = 100
SHORT = "train.steps=8"  # by default: checkpoints within an epoch, at its end, and one removed
SPREAD = 4  # operations that are tried by default, and half as many of a resumed run


def killed_by_the_clock(run: Run, random: Random, reference: ReferenceRun) -> str:
    """Kill it from outside; return what is wrong then."""
    process = run.start()
    sleep(random.uniform(0, reference.duration_s))
    process.send(SIGKILL)
    code = process.wait()
    return "" if code in (0, -SIGKILL) else f"it ended with {code}: {process.stderr}"


def killed_inside(run: Run, random: Random, most: int) -> str:
    """Let it kill itself within the next `most` steps; return what is wrong then."""
    number = random.randint(1, most)
    if random.random() < 0.5:
        code, stderr = run.go("kill_faults:kill_after_step", number)
    else:
        code, stderr = run.go("kill_faults:kill_in_backward", number, random.randint(0, 8))
    return "" if code == -SIGKILL else f"it was not killed, but ended with {code}: {stderr}"


def moments() -> list[object]:
    """Return the numbers of the random moments; four of them are tried by default."""
    return [
        pytest.param(number, marks=[] if number < 4 else EVERY, id=f"{number}")
        for number in range(MOMENTS)
    ]


@pytest.mark.parametrize("number", moments())
def test_a_run_killed_at_a_random_moment_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    number: int,
) -> None:
    random, kind = Random(number), KINDS[number % len(KINDS)]
    by_clock = bool(number // len(KINDS) % 2)  # then also while it draws
    reference = reference_runs.of(kind, draws=by_clock)
    run = Run(launcher, work_dir / "killed", kind, draws=by_clock)
    if by_clock:
        what, wrong = (
            "at a random moment, from outside",
            killed_by_the_clock(run, random, reference),
        )
    else:
        what, wrong = "after a step or within a backward pass", killed_inside(run, random, 18)
    wrong = wrong or run.problem_after_resume(reference.run_dir)
    tally(f"{kind}: killed {what}", wrong)
    assert not wrong


def numbers_of(operations: list[tuple[str, str]], in_full: bool, count: int = SPREAD) -> list[int]:
    """Return the operations to try: all, or `count` at equal distances and the last removal."""
    total = len(operations)
    removal = max(number for number, (name, _) in enumerate(operations) if name == "unlink")
    return list(range(total)) if in_full else [*(total * n // count for n in range(count)), removal]


IN_FULL = [False, pytest.param(True, marks=EVERY)]


@pytest.mark.parametrize("in_full", IN_FULL)
def test_a_run_killed_before_any_operation_on_a_file_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    in_full: bool,
) -> None:
    kind = ("mlp",) if in_full else ("mlp", SHORT)
    reference = reference_runs.of(*kind)
    operations = operations_of(Run(launcher, work_dir / "counted", kind[0], kind[1:]))
    first = next(number for number, (name, _) in enumerate(operations) if name == "rename")
    failures = []
    for number in numbers_of(operations, in_full):
        run = fresh(launcher, work_dir, number, *kind)
        code, _ = run.go("disk_faults:kill_before", number)
        wrong = "" if code == -SIGKILL else f"ended with {code}"
        if run.has_checkpoint != (number > first):
            wrong = f"it has {'a' if run.has_checkpoint else 'no'} checkpoint"
        wrong = wrong or run.problem_after_resume(reference.run_dir)
        what = "no checkpoint yet: refused" if number <= first else "resumed"
        tally(f"killed before an operation on a file, {what}", wrong)
        failures += [f"{number}, {operations[number]}: {wrong}"] * bool(wrong)
    assert not failures


@pytest.mark.faults
def test_a_run_killed_within_any_write_ends_as_the_reference_run(
    launcher: Launcher, reference_runs: ReferenceRuns, work_dir: Path, tally: Callable[..., None]
) -> None:
    reference = reference_runs.of("mlp")
    operations = operations_of(Run(launcher, work_dir / "counted", "mlp"))
    failures = []
    for number, (name, path) in enumerate(operations):
        if name not in ("write", "pwrite"):
            continue
        run = fresh(launcher, work_dir, number)
        code, _ = run.go("disk_faults:kill_in_write", number)
        wrong = "" if code == -SIGKILL else f"ended with {code}"
        wrong = wrong or run.problem_after_resume(reference.run_dir)
        tally("killed with half of a write done", wrong)
        failures += [f"{number}, {path}: {wrong}"] * bool(wrong)
    assert not failures


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_a_run_killed_while_it_finishes_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    kind: str,
) -> None:
    reference = reference_runs.of(kind)
    operations = operations_of(Run(launcher, work_dir / "counted", kind))
    last = max(number for number, (name, _) in enumerate(operations) if name == "rename")
    failures = []
    for number in range(last, len(operations)):
        run = fresh(launcher, work_dir, number, kind)
        code, _ = run.go("disk_faults:kill_before", number)
        wrong = "" if code == -SIGKILL else f"ended with {code}"
        wrong = wrong or run.problem_after_resume(reference.run_dir)
        tally(f"{kind}: killed after its last save: pruning, test, pictures, sample", wrong)
        failures += [f"{number}, {operations[number]}: {wrong}"] * bool(wrong)
    assert not failures


@pytest.mark.parametrize("in_full", IN_FULL)
def test_a_resumed_run_killed_before_any_operation_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    in_full: bool,
) -> None:
    kind, last = (("mlp",), 15) if in_full else (("mlp", SHORT), 5)
    reference = reference_runs.of(*kind)
    killed = Run(launcher, work_dir / "once", kind[0], kind[1:])
    assert killed.go("kill_faults:kill_after_step", last)[0] == -SIGKILL
    shutil.copytree(killed.folder, work_dir / "counted")
    counted = Run(launcher, work_dir / "counted", kind[0], kind[1:])
    operations = operations_of(counted, resume=True)
    failures = []
    for number in numbers_of(operations, in_full, SPREAD // 2):
        run = fresh(launcher, work_dir, number, *kind)
        shutil.copytree(killed.folder, run.folder, dirs_exist_ok=True)
        code, _ = run.go("disk_faults:kill_before", number)
        wrong = "" if code == -SIGKILL else f"ended with {code}"
        wrong = wrong or run.problem_after_resume(reference.run_dir)
        tally("a resumed run killed before an operation on a file", wrong)
        failures += [f"{number}, {operations[number]}: {wrong}"] * bool(wrong)
    assert not failures


def chains() -> list[object]:
    """Return kinds, seeds and how often it is killed; a short chain is tried by default."""
    whole = [(kind, seed, 10) for kind in KINDS for seed in range(3)]
    return [("mlp", 0, 4), *(pytest.param(*chain, marks=EVERY) for chain in whole)]


@pytest.mark.parametrize(("kind", "seed", "kills"), chains())
def test_a_run_killed_many_times_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    kind: str,
    seed: int,
    kills: int,
) -> None:
    long_enough = f"train.epochs={kills + kills // 4}"
    reference, random = reference_runs.of(kind, long_enough), Random(seed)
    run, wrong = Run(launcher, work_dir / "killed", kind, (long_enough,)), ""
    for _ in range(kills):
        wrong = wrong or killed_inside(run, random, most=7)
    wrong = wrong or run.problem_after_resume(reference.run_dir)
    tally(f"{kind}: killed {kills} times in one run", wrong)
    assert not wrong
