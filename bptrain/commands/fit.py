"""`fit`: train an experiment anew, resume it, or only look at what would be trained."""

import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from rich.console import Console

from bptrain.commands.dev_run import fast_dev_run
from bptrain.commands.overfit_one_batch import overfit_one_batch
from bptrain.commands.plan_summary import print_plan
from bptrain.errors import UsageError, shorten
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import Plan, plan
from bptrain.experiment.resuming import resume, resume_or_start
from bptrain.experiment.training import run
from bptrain.train.heap import keep_freed_memory
from bptrain.train.memory import allocating, refuse_if_too_large
from bptrain.train.signals import StopRequest


class Start(Enum):
    """How a run starts: anew, from a checkpoint, or from one if there is one."""

    NEW = "new"
    RESUMED = "resumed"
    AUTO = "auto"


STARTS = {Start.NEW: run, Start.RESUMED: resume, Start.AUTO: resume_or_start}


def fit(
    config: ExperimentConfig,
    run_dir: Path | None,
    start: Start,
    console: Console,
    stop: StopRequest,
) -> None:
    """Train the experiment in a process of its own, which keeps freed memory for its next step."""
    keep_freed_memory()
    trained(config, run_dir, start, console, stop)


def trained(
    config: ExperimentConfig,
    run_dir: Path | None,
    start: Start,
    console: Console,
    stop: StopRequest,
) -> Path:
    """Train the experiment to its end, from its start or newest checkpoint; return its folder."""
    with allocating():
        written = STARTS[start](planned(config, console), run_dir, console, stop)
        console.print(f"run directory {written}", highlight=False, soft_wrap=True)
    return written


def dry_run(config: ExperimentConfig, console: Console, stop: StopRequest) -> None:
    """Print shapes, parameters and memory, and refuse what does not fit; train nothing."""
    with_plan(lambda plan, *_: refuse_if_too_large(plan.memory, plan.device), config, console, stop)


def dev_run(config: ExperimentConfig, console: Console, stop: StopRequest) -> None:
    """Train, evaluate and save for a few steps, and leave nothing behind."""
    with_plan(fast_dev_run, config, console, stop)


def overfit(config: ExperimentConfig, console: Console, stop: StopRequest) -> None:
    """Train on the first batch alone."""
    with_plan(overfit_one_batch, config, console, stop)


def with_plan(
    act: Callable[[Plan, Console, StopRequest], None],
    config: ExperimentConfig,
    console: Console,
    stop: StopRequest,
) -> None:
    """Print the plan of an experiment, and do something with it."""
    with allocating():
        act(planned(config, console), console, stop)


def planned(config: ExperimentConfig, console: Console) -> Plan:
    """Return the plan of an experiment, and print it."""
    refuse_several_processes()
    made = plan(config)
    print_plan(made, console)
    return made


def refuse_several_processes() -> None:
    """Raise UsageError in a job of several processes: each would train a run of its own."""
    processes = os.environ.get("WORLD_SIZE", "1")  # which torchrun, Slurm's wrappers and others set
    if processes != "1":
        raise UsageError(
            f"a job of {shorten(processes, 20)} processes (WORLD_SIZE)",
            "fit trains in one process",
            "start it without torchrun, or with --nproc-per-node 1",
        )
