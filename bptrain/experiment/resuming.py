"""Resume a run: find it and its newest valid checkpoint, and report what may differ."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bptrain.errors import CheckpointError, UsageError, shorten
from bptrain.experiment.batch_size import with_batch_size
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import Plan
from bptrain.experiment.saved_run import CHECKPOINTS, read_config
from bptrain.experiment.stored_config import differences, is_moved, may_change, plain
from bptrain.experiment.stored_data import refuse_other_data
from bptrain.experiment.training import resume_training, run
from bptrain.rundir.checkpoint import list_checkpoints, newest_valid
from bptrain.rundir.manifest import read_regular
from bptrain.rundir.run_directory import environment, holds_run, remove_unstarted_run
from bptrain.rundir.run_lock import locked
from bptrain.train.signals import StopRequest

LARGEST_ENVIRONMENT = 2**20  # bytes
SAME_NUMBERS = re.compile(
    r"name|checkpoint\.(every|keep).*|data\..*|train\.(process_timeout_s|sync_batch_norm)"
)  # of those: the results stay the same


def resume(plan: Plan, chosen: Path | None, console: Console, stop: StopRequest) -> Path:
    """Resume a run from its newest valid checkpoint, and return the run's folder.

    Raises UsageError if the config is another experiment's, CheckpointError if no checkpoint
    is valid, RunInUseError if another process is training it.
    """
    run_dir = chosen or newest_run(plan.config.name)
    if not holds_run(run_dir):
        raise CheckpointError(
            f"{run_dir}: no run to resume", "it has no config.yaml", "leave --resume out"
        )
    with locked(run_dir):
        before = read_config(run_dir)
        refuse_other_experiment(before, plan.config, run_dir)
        path, state, damaged = newest_valid(run_dir / CHECKPOINTS)
        refuse_other_data(run_dir, plan.dataset)
        step = state.step
        notes = [f"skipped: {shorten(error.what)}" for error in damaged]
        notes.append(f"resuming {run_dir} from {path.name}: step {step} of {plan.total_steps}")
        notes += [f"results may differ: {each}" for each in inexact(before, plan, run_dir)]
        for note in notes:
            console.print(note, highlight=False, markup=False, soft_wrap=True)
        resume_training(plan, state, run_dir, console, stop)
    return run_dir


def resume_or_start(plan: Plan, chosen: Path | None, console: Console, stop: StopRequest) -> Path:
    """Resume a run as `resume` does, or start a new one if there is no checkpoint at all.

    One command for a scheduler that restarts what was preempted or killed. Checkpoints of which
    none is valid are no reason to start anew: CheckpointError.
    """
    found = runs_of(plan.config.name)
    run_dir = chosen or (found[-1] if found else None)
    if run_dir is not None and list_checkpoints(run_dir / CHECKPOINTS):
        return resume(plan, run_dir, console, stop)
    console.print("no checkpoint to resume from: a new run", highlight=False)
    if run_dir is not None and run_dir.is_dir():
        with locked(run_dir):  # or another process is about to write the first one
            if chosen is not None:
                remove_unstarted_run(run_dir)
    return run(plan, chosen, console, stop)


def with_batch_size_of_run(config: ExperimentConfig, chosen: Path | None) -> ExperimentConfig:
    """Return the config with the batch size that its run has, where the config's is auto.

    Measured again it might be another: the free memory is.
    """
    found = [chosen] if chosen else runs_of(config.name)
    if config.data.batch_size != "auto" or not found or not holds_run(found[-1]):
        return config
    return with_batch_size(config, read_config(found[-1]).batch_size)


def runs_of(name: str, root: Path = Path("runs")) -> list[Path]:
    """Return runs/<name> and the numbered <name>-N, in the order of their numbers."""
    numbered = re.compile(re.escape(name) + r"(-[0-9]+)?")
    found = [path for path in root.glob(f"{name}*") if numbered.fullmatch(path.name)]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def newest_run(name: str, root: Path = Path("runs")) -> Path:
    """Return runs/<name>, or the <name>-N of the highest number; raise CheckpointError for none."""
    found = runs_of(name, root)
    if not found:
        raise CheckpointError(
            f"{root / name}: no run to resume", hint="leave --resume out, or name it by --run-dir"
        )
    return found[-1]


def refuse_other_experiment(before: ExperimentConfig, now: ExperimentConfig, run_dir: Path) -> None:
    """Raise UsageError if the configs differ in keys that the saved state depends on."""
    changed = differences(plain(before), plain(now))
    keys = [key for key, old, new in changed if not may_change(key, old, new)]
    if keys:
        raise UsageError(
            f"{run_dir}: the run has another {', '.join(keys)}",
            "the saved state depends on it",
            f"bptrain fit {run_dir / 'config.yaml'} --resume --run-dir {run_dir}",
        )


def inexact(before: ExperimentConfig, plan: Plan, run_dir: Path) -> Iterator[str]:
    """Yield the reasons why the results may differ from those of an uninterrupted run."""
    for key, old, new in differences(plain(before), plain(plan.config)):
        if not SAME_NUMBERS.fullmatch(key) and not is_moved(key, old, new):
            yield f"{key} was {old}, is {new}"
    try:
        then = json.loads(read_regular(run_dir / "environment.json", LARGEST_ENVIRONMENT).decode())
    except (CheckpointError, ValueError, RecursionError):
        then = {}
    now = environment(plan.device, plan.ranks.count)
    for what in ("device", "processes", "threads", "cpu_capability", "torch"):
        unknown = 1 if what == "processes" else None  # older runs do not tell: they had one
        was = then.get(what, unknown) if isinstance(then, dict) else None
        if was != now[what]:
            yield f"{what.replace('_', ' ')} was {was}, is {now[what]}"
    if plan.device.type == "cuda":
        yield "the order of some sums on a GPU is not fixed"
