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
LONG = "train.epochs=12"  # long enough for ten kills
KILLS = 10
SPREAD = 6  # operations that are tried by default, and half as many of a resumed run


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
    reference = reference_runs.of("mlp")
    operations = operations_of(Run(launcher, work_dir / "counted", "mlp"))
    first = next(number for number, (name, _) in enumerate(operations) if name == "rename")
    failures = []
    for number in numbers_of(operations, in_full):
        run = fresh(launcher, work_dir, number)
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
    reference = reference_runs.of("mlp")
    killed = Run(launcher, work_dir / "once", "mlp")
    assert killed.go("kill_faults:kill_after_step", 15)[0] == -SIGKILL
    shutil.copytree(killed.folder, work_dir / "counted")
    operations = operations_of(Run(launcher, work_dir / "counted", "mlp"), resume=True)
    failures = []
    for number in numbers_of(operations, in_full, SPREAD // 2):
        run = fresh(launcher, work_dir, number)
        shutil.copytree(killed.folder, run.folder, dirs_exist_ok=True)
        code, _ = run.go("disk_faults:kill_before", number)
        wrong = "" if code == -SIGKILL else f"ended with {code}"
        wrong = wrong or run.problem_after_resume(reference.run_dir)
        tally("a resumed run killed before an operation on a file", wrong)
        failures += [f"{number}, {operations[number]}: {wrong}"] * bool(wrong)
    assert not failures


def chains() -> list[object]:
    """Return kinds and seeds; the perceptron's first chain is tried by default."""
    pairs = [(kind, seed) for kind in KINDS for seed in range(3)]
    return [pytest.param(*pair, marks=[] if pair == ("mlp", 0) else EVERY) for pair in pairs]


@pytest.mark.parametrize(("kind", "seed"), chains())
def test_a_run_killed_ten_times_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    kind: str,
    seed: int,
) -> None:
    reference, random = reference_runs.of(kind, LONG), Random(seed)
    run, wrong = Run(launcher, work_dir / "killed", kind, (LONG,)), ""
    for _ in range(KILLS):
        wrong = wrong or killed_inside(run, random, most=7)
    wrong = wrong or run.problem_after_resume(reference.run_dir)
    tally(f"{kind}: killed {KILLS} times in one run", wrong)
    assert not wrong
