"""`fit`: train an experiment anew, resume it, or only look at what would be trained."""

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

import torch
from rich.console import Console

from bptrain.commands.dev_run import fast_dev_run
from bptrain.commands.overfit_one_batch import overfit_one_batch
from bptrain.commands.plan_summary import print_plan
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.follower import follow
from bptrain.experiment.plan import Plan
from bptrain.experiment.resuming import resume, resume_or_start, with_batch_size_of_run
from bptrain.experiment.several_processes import facts_of, refuse_what_needs_one_process
from bptrain.experiment.training import run
from bptrain.train.heap import keep_freed_memory
from bptrain.train.job import Job, joined, place_in_job
from bptrain.train.memory import allocating, refuse_if_too_large
from bptrain.train.signals import StopRequest


class Start(Enum):
    """How a run starts: anew, from a checkpoint, or from one if there is one."""

    NEW = "new"
    RESUMED = "resumed"
    AUTO = "auto"


WHY_AUTOGRAD = "by autograd, as the tape holds its parameters in place"
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
    """Train the experiment to its end, from its start or newest checkpoint; return its folder.

    In a job of several processes rank 0 writes and prints for all of them.
    """
    if start is not Start.NEW:
        config = with_batch_size_of_run(config, run_dir)
    with allocating(), joined() as job:
        stop.hears_once = job.place.count > 1
        if job.place.rank != 0:
            return follow(planned_together(job, config, Console(quiet=True)), stop)
        written = STARTS[start](planned_together(job, config, console), run_dir, console, stop)
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
    refuse_several_processes()
    with allocating():
        act(planned(config, console), console, stop)


def planned(config: ExperimentConfig, console: Console) -> Plan:
    """Return the plan of an experiment, and print it."""
    made = plan_for_training(config)
    print_plan(made, console)
    return made


def planned_together(job: Job, config: ExperimentConfig, console: Console) -> Plan:
    """Return the plan of an experiment in a job, whose processes agree on it; print it."""
    if job.place.count > 1:
        refuse_batch_size_of_each(config)
    if config.train.sharded:
        job.share_weights()
    made = replace(planned(config, console), ranks=job.ranks)
    if job.place.count == 1:
        return made
    refuse_what_needs_one_process(made)
    device = made.device
    if device.type == "cuda":
        device = torch.device("cuda", job.place.local)
        torch.cuda.set_device(device)
    job.form(facts_of(made), device, config.train.process_timeout_s)
    count = job.place.count
    console.print(f"{count} processes, each with its rows of every batch", highlight=False)
    if config.train.sharded:
        console.print(f"and its part of the weights: {WHY_AUTOGRAD}", highlight=False)
    return replace(made, device=device)


def refuse_batch_size_of_each(config: ExperimentConfig) -> None:
    """Raise ConfigKeyError for a batch size that each process of a job would find by itself."""
    if config.data.batch_size == "auto":
        raise ConfigKeyError(
            ("data", "batch_size"),
            "is auto, and each process of a job would find its own",
            hint="a number, such as `fit --dry-run` finds in one process",
        )


def refuse_several_processes() -> None:
    """Raise UsageError in a job of several processes: each would do the same."""
    count = place_in_job().count
    if count != 1:
        raise UsageError(
            f"a job of {count} processes",
            "this option of fit takes one process",
            "start it without torchrun",
        )
