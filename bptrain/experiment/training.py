"""Train an experiment, from a new run or a checkpoint, and evaluate its best state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from rich.console import Console
from torch import nn

from bptrain.config import to_yaml
from bptrain.data import Dataset
from bptrain.errors import InterruptedRun, NonFiniteError, StorageError, UsageError
from bptrain.experiment.baselines import baselines_of
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.evaluation import Evaluation, evaluate_state, save_pictures
from bptrain.experiment.failed_step import forget_failed_step
from bptrain.experiment.largest_gradients import write_largest_gradients
from bptrain.experiment.plan import Plan
from bptrain.experiment.saved_run import CHECKPOINTS, restore
from bptrain.experiment.session import Session
from bptrain.experiment.shared_state import from_first
from bptrain.experiment.starting_weights import starting_weights
from bptrain.experiment.stored_baselines import store_baselines
from bptrain.experiment.stored_config import hyperparameters_of, plain, signed_yaml
from bptrain.experiment.worst_samples import Watch
from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.noise_scale import advice
from bptrain.monitor.run_log import RunLog
from bptrain.rundir.baselines_file import BASELINES
from bptrain.rundir.checkpoint import best_checkpoint
from bptrain.rundir.prepared import Stored, read_stored, write_prepared
from bptrain.rundir.run_directory import (
    create_run_directory,
    forget_error_log,
    refuse_if_begun,
    write_description,
    write_error_log,
)
from bptrain.rundir.run_lock import locked
from bptrain.rundir.training_state import TrainingState
from bptrain.tape import Step
from bptrain.tasks import task_of
from bptrain.tasks.text_sampling import TextData, write_sample
from bptrain.train.memory import allocating
from bptrain.train.ranks import ONE
from bptrain.train.signals import StopRequest


def run(plan: Plan, chosen_dir: Path | None, console: Console, stop: StopRequest) -> Path:
    """Train the plan's experiment, test its best state, and return the run's folder."""
    with allocating():
        experiment = build(plan, starting_weights(plan))
        with new_run(plan, chosen_dir, stop) as run_dir:
            train(experiment, run_dir, console, stop)
    return run_dir


def begin_run(
    plan: Plan,
    change: Callable[[nn.Module], None],
    chosen_dir: Path | None,
    console: Console,
    stop: StopRequest,
) -> Path:
    """Write a run that has taken no step, its model changed before, and return the run's folder."""
    with allocating():
        experiment = build(plan, change)
        with (
            new_run(plan, chosen_dir, stop) as run_dir,
            log_of(experiment, run_dir, console) as log,
        ):
            Session(experiment, run_dir / CHECKPOINTS, log, stop).begin()
    return run_dir


@contextmanager
def new_run(plan: Plan, chosen_dir: Path | None, stop: StopRequest) -> Iterator[Path]:
    """Make a run's folder, locked inside the block; an error there is written into it."""
    with stop.noted():  # otherwise a folder without a checkpoint might be left
        run_dir = create_run_directory(plan.config.name, chosen_dir)
        with locked(run_dir):
            refuse_if_begun(run_dir)
            with leaving_an_error_log(run_dir):
                describe(run_dir, plan, plan.dataset)
                yield run_dir


def resume_training(
    plan: Plan, saved: TrainingState, run_dir: Path, console: Console, stop: StopRequest
) -> None:
    """Train a run's experiment from a saved state to its end, and test its best state."""
    with allocating(), leaving_an_error_log(run_dir):
        forget_error_log(run_dir)
        forget_failed_step(run_dir)
        experiment = build(plan)
        describe(run_dir, plan, read_stored(run_dir))
        train(experiment, run_dir, console, stop, saved)


def describe(run_dir: Path, plan: Plan, data: Dataset | Stored) -> None:
    """Write what a run stores of its data and config: first the copy, then config.yaml."""
    write_prepared(run_dir, data.problem, data.prepared, data.contents, plain(plan.config))
    write_description(run_dir, signed_yaml(plan.config), plan.device, plan.ranks.count)


def train(
    experiment: Experiment,
    run_dir: Path,
    console: Console,
    stop: StopRequest,
    saved: TrainingState | None = None,
) -> None:
    """Train from the start or from a saved state, and evaluate the best state at the end."""
    with log_of(experiment, run_dir, console) as log:
        session = Session(experiment, run_dir / CHECKPOINTS, log, stop)
        print_notices(experiment, log.console)
        with stop.noted(), experiment.ranks.exchanging():
            session.start(from_first(experiment, run_dir, saved)[1])
            if session.is_finished and session.progress.is_settled:
                log.console.print_line("the run is finished: no steps remain")
            run_to_its_end(session, run_dir)
        if session.early_stopping is not None and session.early_stopping.is_over:
            log.console.print_line(f"stopped early: {session.early_stopping.reason}")
        with stop.at_once():
            conclude(session, run_dir)


def run_to_its_end(session: Session, run_dir: Path) -> None:
    """Take the remaining steps; a run that is not finite leaves a report of what led to it."""
    try:
        session.run()
    except NonFiniteError as failure:
        from bptrain.experiment.reporting import leave_report_of_failure

        report = leave_report_of_failure(run_dir, session.experiment, failure)
        session.log.console.print_line(report)
        session.ranks.wait_for_first()
        raise


def print_notices(experiment: Experiment, console: TrainingConsole) -> None:
    """Print what the tape tells, where the config does not make an error of it."""
    engine, config = experiment.engine, experiment.config
    if not isinstance(engine, Step):
        return
    engine.notices.compiled = lambda s: console.print_line(f"compiled in {s:.1f} s")
    if config.engine == "auto":
        engine.notices.by_autograd = lambda why: console.print_line(f"runs by autograd: {why}")
    if config.compile == "auto":
        engine.notices.not_compiled = lambda why: console.print_line(f"not compiled: {why}")


def conclude(session: Session, run_dir: Path) -> None:
    """Evaluate the best state of a finished run, and show the results."""
    log, step = session.log, session.position.step
    for verdict in session.diagnosis.verdicts():
        for line in verdict.lines:
            log.console.print_line(line)
    try:
        experiment = alone(session.experiment)
    except UsageError as error:  # the processes together hold a model that one of them does not
        log.console.print_line(f"not tested: {error.what}; `bptrain evaluate` does where it fits")
        log.board.conclude(step)
        return
    best = best_checkpoint(run_dir / CHECKPOINTS, ranking=session.best_by)
    watch = Watch(experiment)
    baselines = baselines_of(experiment)
    try:
        store_baselines(run_dir, baselines)
    except StorageError as error:  # an addition to the results, which are still to come
        log.console.print_line(f"no {BASELINES}: {error.what}: {error.why}")
    evaluation = evaluate_state(experiment, best, [watch], baselines=baselines)
    if evaluation is not None:
        show_results(evaluation, session, run_dir)
    config = experiment.config
    if excess := session.overhead.excess(config.monitor.max_overhead):
        log.console.print_line(excess)
    if config.monitor.level == "full":
        scale = session.monitor.noise_scale
        if scale is not None:
            log.console.print_line(advice(scale, config.batch_size))
        log.console.print_line(write_largest_gradients(run_dir, experiment))
    if task_of(experiment.dataset.problem).generates_text:
        prepared = experiment.dataset.prepared
        data = cast("TextData", config.data)  # what a task that generates text is trained on
        text = write_sample(run_dir, data, experiment.model, prepared, config.seed)
        log.board.write_text(step, "sample", text)
    log.board.conclude(step)
    from bptrain.experiment.reporting import leave_report  # here: its templates are not for a start

    log.console.print_line(leave_report(run_dir, experiment, evaluation, watch))


def alone(experiment: Experiment) -> Experiment:
    """Return the experiment for what one process does while the others train no more.

    Raises UsageError for a model that the processes share, and one of them cannot hold.
    """
    if not experiment.ranks.shares_weights:
        return replace(experiment, ranks=ONE)
    model = restore(experiment.config, experiment.dataset.problem, 0, experiment.device)
    return replace(experiment, model=model, ranks=ONE)


def show_results(evaluation: Evaluation, session: Session, run_dir: Path) -> None:
    """Log and print the results of a run's best state, beside the baselines'."""
    log, (step, epoch, _) = session.log, session.position
    values = evaluation.baseline_values
    if evaluation.split == "test":
        values = evaluation.values | values
    if values:
        log.metrics.write(step, epoch, values)
        log.board.write(step, values)
    log.board.write_figures(step, evaluation.split, evaluation.figures)
    save_pictures(run_dir, evaluation)
    for line in (evaluation.summary, *evaluation.line_of_threshold, *evaluation.lines_of_baselines):
        log.console.print_line(line)


def log_of(experiment: Experiment, run_dir: Path, console: Console) -> RunLog:
    """Return the log of a run; it is opened later."""
    return RunLog(
        run_dir,
        to_yaml(experiment.config),
        hyperparameters_of(experiment.config),
        experiment.evaluation_metric.names,
        TrainingConsole(console, experiment.total_steps, experiment.steps_per_epoch),
    )


@contextmanager
def leaving_an_error_log(run_dir: Path) -> Iterator[None]:
    """Write the traceback of an error inside the block into the run's folder."""
    try:
        yield
    except (InterruptedRun, KeyboardInterrupt):
        raise
    except BaseException as error:
        write_error_log(run_dir, error)
        raise
