"""Power cuts: the process is killed, and what was not synced is lost.

After a kill the folder loses what was not synced: the last names that were added to, removed from
or changed in a folder, the last bytes of a file, or all of these (simulated by `forgetful_disk.py`;
no real disk loses power). Before each operation on a file of a perceptron's run, and three times in
one run. Each checkpoint whose name was synced must exist and be valid, no incomplete one may have a
checkpoint's name, and what `metrics.jsonl` and TensorBoard held when it was written must be there
too.
"""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from signal import SIGKILL

import pytest
from launcher import Launcher
from reference_runs import ReferenceRuns, Run, fresh, operations_of

from bptrain.errors import CheckpointError
from bptrain.rundir.checkpoint import list_checkpoints, newest_valid

EVERY = pytest.mark.faults  # not by default
SHORT = "train.steps=8"  # by default: checkpoints within an epoch, at its end, and one removed
SPREAD = 5  # operations that are tried by default
NAMED = re.compile(r"run/checkpoints/\.unfinished-step-(\d+)")


def cut(run: Run, number: int, seed: int) -> str:
    """Start or resume until the power is cut; return what is wrong then."""
    backups = (
        run.folder.parent / f"{run.folder.name}-backup-{len(list(run.folder.parent.iterdir()))}"
    )
    backups.mkdir()
    code, stderr = run.go("disk_faults:cut_power_before", number, seed, str(backups))
    return "" if code == -SIGKILL else f"it ended with {code}: {stderr}"


def durable_step(operations: list[tuple[str, str]]) -> int:
    """Return the last step whose checkpoint is durable under its name, -1 for none."""
    held, renamed = -1, -1
    for name, path in operations:
        if name == "rename" and (named := NAMED.fullmatch(path)):
            renamed = int(named[1])
        if (name, path) == ("fsync", "run/checkpoints"):
            held = renamed
    return held


def lost_checkpoint(run: Run, step: int) -> str:
    """Return what is missing of the checkpoint of a durable step."""
    if not list_checkpoints(run.checkpoints):
        return f"step {step} is gone" if step >= 0 else ""
    try:
        path, state, damaged = newest_valid(run.checkpoints)
    except CheckpointError as error:
        return str(error)
    if damaged:
        return f"it has a checkpoint's name: {damaged[0]}"
    return f"step {step} is gone, {path.name} the newest" if state.step < step else ""


@pytest.mark.parametrize("in_full", [False, pytest.param(True, marks=EVERY)])
def test_after_a_power_cut_before_any_operation_a_run_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    in_full: bool,
) -> None:
    kind = ("mlp",) if in_full else ("mlp", SHORT)
    reference = reference_runs.of(*kind)
    operations = operations_of(Run(launcher, work_dir / "counted", kind[0], kind[1:]))
    total, failures = len(operations), []
    for number in range(total) if in_full else [total * n // SPREAD for n in range(1, SPREAD)]:
        run, step = fresh(launcher, work_dir, number, *kind), durable_step(operations[:number])
        wrong = cut(run, number, seed=number)
        wrong = wrong or lost_checkpoint(run, step) or run.problem_after_resume(reference.run_dir)
        what = "no checkpoint yet: refused, or resumed" if step < 0 else "resumed"
        tally(f"power cut before an operation on a file, {what}", wrong)
        failures += [f"{number}, {operations[number]}: {wrong}"] * bool(wrong)
    assert not failures


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed == 0 else EVERY) for seed in range(20)]
)
def test_after_three_power_cuts_a_run_ends_as_the_reference_run(
    launcher: Launcher,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Callable[..., None],
    seed: int,
) -> None:
    kind, random = ("mlp", "train.epochs=6"), Random(seed)
    reference = reference_runs.of(*kind)
    operations = operations_of(Run(launcher, work_dir / "counted", kind[0], kind[1:]))
    first = next(n for n in range(len(operations)) if durable_step(operations[:n]) >= 0)
    run, wrong = Run(launcher, work_dir / "cut", kind[0], kind[1:]), ""
    for least in (first, 0, 0):  # the first one when there is a checkpoint to resume from
        wrong = wrong or cut(run, random.randint(least, 120), random.randint(0, 10**6))
        wrong = wrong or lost_checkpoint(run, 0)
    wrong = wrong or run.problem_after_resume(reference.run_dir)
    tally("power cut three times in one run", wrong)
    assert not wrong
