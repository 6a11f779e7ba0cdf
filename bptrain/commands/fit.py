"""`fit` in its manners: anew, resumed, dry, or as a rehearsal."""

from pathlib import Path

from rich.console import Console

from bptrain.commands.dev_run import fast_dev_run
from bptrain.commands.overfit_one_batch import overfit_one_batch
from bptrain.commands.plan_summary import print_plan
from bptrain.errors import UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.experiment.resuming import resume
from bptrain.experiment.training import run
from bptrain.train.memory import allocating, refuse_if_too_large
from bptrain.train.signals import StopRequest

RUNS = {"--resume"}  # of the options, those that make or go on with a run's folder


def fit(
    config: ExperimentConfig,
    options: list[str],
    run_dir: Path | None,
    console: Console,
    stop: StopRequest,
) -> None:
    """Train the experiment in the manner that one of the options names, or anew without any."""
    if len(options) > 1:
        raise UsageError(f"{' and '.join(options)} exclude each other")
    if run_dir is not None and set(options) - RUNS:
        raise UsageError(f"{options[0]} leaves no run behind", hint="leave --run-dir out")
    with allocating():
        planned = plan(config)
        print_plan(planned, console)
        match options:
            case ["--dry-run"]:
                refuse_if_too_large(planned.memory, planned.device)
            case ["--fast-dev-run"]:
                fast_dev_run(planned, console, stop)
            case ["--overfit-one-batch"]:
                overfit_one_batch(planned, console, stop)
            case _:
                begin = resume if options else run
                made = begin(planned, run_dir, console, stop)
                console.print(f"run directory {made}", highlight=False, soft_wrap=True)
