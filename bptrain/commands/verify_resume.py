"""`verify-resume`: kill the run of a config several times, and compare it with an undisturbed run.

Each part of the killed run is a process of its own, as for a user: state that no checkpoint holds
is lost with the process.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bptrain.config import to_yaml
from bptrain.errors import CheckpointError, shorten
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.config import ExperimentConfig
from bptrain.monitor.console import lines_of
from bptrain.rundir.checkpoint import list_checkpoints
from bptrain.verify.run_equality import RunPart, compare_runs

STEPS = 60  # of the run that is compared, if it has no fewer
PARTS = 8  # of which each ends in a checkpoint
POLL_S = 0.005


def verify_resume(config: ExperimentConfig, steps: int | None, kills: int, as_json: bool) -> None:
    """Print how a run that is killed `kills` times compares with one that is not.

    Raises CheckpointError if they differ.
    """
    compared = compare_with_killed_run(config, steps, kills)
    if as_json:
        print(json.dumps([each._asdict() for each in compared]))
    else:
        rows = [[each.what, f"{each.compared:,}", each.difference or "same"] for each in compared]
        print("\n".join(lines_of([["what", "compared", "result"], *rows])))
    different = [each for each in compared if each.difference]
    if different:
        raise CheckpointError(f"resume is not exact: {different[0].what}", different[0].difference)


def compare_with_killed_run(
    config: ExperimentConfig, steps: int | None, kills: int
) -> list[RunPart]:
    """Run the config twice, one run killed `kills` times and resumed, and compare the runs."""
    planned = plan_for_training(config)
    steps = min(steps or STEPS, planned.total_steps)
    every = max(1, steps // max(PARTS, 2 * kills))
    changed = planned.config.model_copy(
        update={
            "train": config.train.model_copy(update={"steps": steps}),
            "monitor": config.monitor.model_copy(
                update={"log_every": min(config.monitor.log_every, max(1, every - 1))}
            ),
            "checkpoint": config.checkpoint.model_copy(update={"every_steps": every}),
        }
    )
    with TemporaryDirectory(prefix="bptrain-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(to_yaml(changed), encoding="utf-8")
        left_alone, killed = folder / "left-alone", folder / "killed"
        finish(folder / "config.yaml", left_alone)
        for number in range(1, kills + 1):
            kill_after(folder / "config.yaml", killed, steps * number // (kills + 1))
        finish(folder / "config.yaml", killed)
        return compare_runs(left_alone, killed)


def kill_after(config: Path, run_dir: Path, step: int) -> None:
    """Start or resume the run, and kill it once it has a checkpoint of `step` or later."""
    with started(config, run_dir) as process:
        was_killed = False
        while process.poll() is None and last_step(run_dir) < step:
            time.sleep(POLL_S)
        if process.poll() is None:
            process.kill()
            was_killed = True
        stderr = process.communicate()[1]
    if process.returncode != 0 and not was_killed:
        refuse(stderr, process.returncode)


def finish(config: Path, run_dir: Path) -> None:
    """Start or resume the run, and wait for its end."""
    with started(config, run_dir) as process:
        stderr = process.communicate()[1]
    if process.returncode != 0:
        refuse(stderr, process.returncode)


@contextmanager
def started(config: Path, run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the run in a process of its own, or resume it if it has a checkpoint.

    The process is killed when the block ends, however that happens.
    """
    words = [sys.executable, "-m", "bptrain", "fit", str(config), "--run-dir", str(run_dir)]
    words += ["--resume"] if last_step(run_dir) >= 0 else []
    with subprocess.Popen(  # noqa: S603
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def last_step(run_dir: Path) -> int:
    """Return the step of the last checkpoint, -1 if there is none."""
    found = list_checkpoints(run_dir / "checkpoints")
    return int(found[-1].name.removeprefix("step-")) if found else -1


def refuse(stderr: str, exit_code: int) -> None:
    """Raise CheckpointError for a run that failed by itself."""
    raise CheckpointError(f"the run ended with exit code {exit_code}", shorten(stderr.strip()))
