"""The report of a run, or of two side by side: what the page shows, from their folders."""

from collections.abc import Sequence
from pathlib import Path

import torch

from bptrain.errors import BptrainError, shorten
from bptrain.experiment.baselines import BaselineResult, deciding_metric, not_beaten
from bptrain.experiment.best_state import best_by
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.evaluation import Evaluation, evaluate_state
from bptrain.experiment.plan import plan, serve
from bptrain.experiment.run_record import FINISHED, RunRecord, config_of, read_record
from bptrain.experiment.saved_run import CHECKPOINTS
from bptrain.experiment.stored_config import flat
from bptrain.experiment.stored_data import refuse_other_data
from bptrain.experiment.worst_samples import Watch, samples
from bptrain.monitor.console import duration
from bptrain.monitor.report.page import page
from bptrain.monitor.report.run_view import Evaluated, Figure, Result, RunView
from bptrain.plots.canvas import png_bytes
from bptrain.problem import Problem
from bptrain.rundir.checkpoint import best_checkpoint
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.tasks import task_of
from bptrain.tasks.classification import MISTAKES
from bptrain.train.memory import allocating

REPORT = "report.html"
MOST_SAMPLES = 10_000  # that are evaluated for a report alone: it is there after seconds
OTHERWISE = "choose another file with --output"


def leave_report(
    run_dir: Path, experiment: Experiment, evaluation: Evaluation | None, watch: Watch
) -> str:
    """Write the report of a run that has just finished, and return a line about it.

    A report that fails is no failure of the run.
    """
    try:
        given = evaluated(experiment, evaluation, watch)
        return _written(run_dir, FINISHED, given, experiment.total_steps)
    except Exception as error:  # whatever it is: the run is finished, and its state is saved
        return f"no {REPORT}: {_reason(error)}"


def leave_report_of_failure(run_dir: Path, experiment: Experiment, failure: BptrainError) -> str:
    """Write the report of a run that has just failed, without an evaluation."""
    try:
        given = without_evaluation("the run failed; `bptrain report` evaluates its best state")
        return _written(run_dir, f"failed: {failure.what}", given, experiment.total_steps)
    except Exception as error:  # the failure itself is what its user has to see
        return f"no {REPORT}: {_reason(error)}"


def _written(run_dir: Path, ending: str, given: Evaluated, total_steps: int) -> str:
    record = read_record(run_dir, ending)
    path = run_dir / REPORT
    write_page([view_of(record, given, total_steps)], path)
    return f"report {path}"


def _reason(error: Exception) -> str:
    text = error.what if isinstance(error, BptrainError) else f"{type(error).__name__}: {error}"
    why = error.why if isinstance(error, BptrainError) else ""
    return shorten(f"{text}: {why}" if why else text)


def report_of(run_dir: Path, evaluates: bool) -> RunView:
    """Return what the page shows of a run in a folder.

    evaluates  whether its best state is evaluated on its data, for what is no part of the folder

    Raises UsageError for a folder without a run, CheckpointError for an edited or damaged config.
    """
    record = read_record(run_dir)
    if not evaluates:
        return view_of(record, without_evaluation("it was not asked for"))
    try:
        with allocating():
            planned = plan(record.config)
            refuse_other_data(run_dir, planned.dataset)
            experiment = build(planned)
            ranking = best_by(record.config, planned.dataset.problem)
            best = best_checkpoint(run_dir / CHECKPOINTS, ranking=ranking)
            watch, most = Watch(experiment), -(-MOST_SAMPLES // record.config.batch_size)
            evaluation = evaluate_state(experiment, best, [watch], most)
            given = evaluated(experiment, evaluation, watch, most)
    except BptrainError as error:
        return view_of(record, without_evaluation(_reason(error)))
    return view_of(record, given, experiment.total_steps)


def write_page(runs: Sequence[RunView], path: Path) -> int:
    """Write the page of a run, or of two, and return its size in bytes; raises StorageError."""
    title = " and ".join(run.name for run in runs)
    content = page(runs, title).encode("utf-8", "replace")
    with storing(path, OTHERWISE):
        replace_file(path, content)
    return len(content)


def without_evaluation(why: str) -> Evaluated:
    """Return that nothing was evaluated, and why."""
    words = f"The best state was not evaluated: {why}"
    return Evaluated("", [], [], {"figures": words, "samples": words})


def evaluated(
    experiment: Experiment,
    evaluation: Evaluation | None,
    watch: Watch,
    most_batches: int | None = None,
) -> Evaluated:
    """Return what the page shows of an evaluation and the worst samples that it met."""
    if evaluation is None:
        return without_evaluation("the data has neither test nor validation samples")
    figures = [
        Figure(each.name, None if each.picture is None else png_bytes(each.picture), each.rows)
        for each in evaluation.figures
        if each.name != MISTAKES  # the worst samples are shown one by one
    ]
    left_out = {"figures": "This task has no pictures of its predictions."}
    if watch.error is not None:
        left_out["samples"] = f"No worst samples: {_reason(watch.error)}"
    worst = watch.worst
    found = [] if worst is None else list(samples(worst, experiment, evaluation.decision))
    return Evaluated(_origin(experiment, evaluation, most_batches), figures, found, left_out)


def _origin(experiment: Experiment, evaluation: Evaluation, most_batches: int | None) -> str:
    """Return in words what was evaluated."""
    name = {"test": "test", "val": "validation"}[evaluation.split]
    dataset = experiment.dataset
    split = dataset.test if evaluation.split == "test" else dataset.validation
    assert split is not None  # it was evaluated
    there = len(serve(experiment.config, split))
    part = f"{evaluation.samples:,} samples"
    if most_batches is not None and most_batches < there:
        part = f"the first {most_batches:,} of {there:,} batches"
    return f"State {evaluation.checkpoint}, {name} split: {part}."


def view_of(record: RunRecord, given: Evaluated, total_steps: int | None = None) -> RunView:
    """Return what the page shows of a run.

    total_steps  of the whole run; None where they are not known
    """
    step, best = record.best or (None, {})
    results = [
        Result(
            name,
            record.final.get(f"train/{name}"),
            record.final.get(f"val/{name}"),
            best.get(f"val/{name}"),
            record.final.get(f"test/{name}"),
            [each.get(name) for each in record.baselines.values()],
        )
        for name in record.metrics
    ]
    return RunView(
        record.name,
        str(record.folder),
        _facts(record, total_steps),
        [each for each in results if any(value is not None for value in each[1:5])],
        step,
        record.history,
        record.verdicts,
        flat(config_of(record)),
        flat(record.environment),
        given,
        [*record.notes, *_not_beaten(record)],
        [name.replace("_", " ") for name in record.baselines],
    )


def _not_beaten(record: RunRecord) -> list[str]:
    """Return a line for each logged baseline that the run does not beat."""
    problem = record.stored.problem
    metric = task_of(problem).evaluation_metric(problem)
    _, best = record.best or (None, {})
    is_tested = any(tag.startswith("test/") for tag in record.final)
    ranking = deciding_metric(record.config, metric, "test" if is_tested else "val")
    results = [BaselineResult(name, "", values) for name, values in record.baselines.items()]
    return not_beaten(record.final if is_tested else best, results, ranking)


def _facts(record: RunRecord, total_steps: int | None) -> dict[str, str]:
    config, problem, step = record.config, record.stored.problem, record.history.step
    sizes = {name: each.get("samples") for name, each in record.stored.contents.items()}
    text = ", ".join(f"{count:,} {name}" for name, count in sizes.items() if count is not None)
    verdicts = ", ".join(each.kind.replace("_", " ") for each in record.verdicts)
    return {
        "status": record.ending,
        "task": f"{problem.task.replace('_', ' ')}, {outputs_of(problem)}",
        "data": f"{config.data.kind}: {text} samples" if text else config.data.kind,
        "model": f"{config.model.kind}, {parameters_of(record):,} parameters",
        "optimizer": f"{config.optimizer.kind}, schedule {config.schedule.kind}",
        "steps": f"{step:,}" + (f" of {total_steps:,}" if total_steps else ""),
        "time": duration(record.duration_s),
        "verdicts": verdicts or "none",
    }


def outputs_of(problem: Problem) -> str:
    """Return what a model returns, and how many of them."""
    kind, count = problem.output_kind, problem.outputs
    has_symbols = kind.targets == "texts" or kind.per == "carried step"
    what = "numbers" if kind.targets == "numbers" else "symbols" if has_symbols else "classes"
    return f"{count:,} {what.removesuffix('s') if what == 'numbers' and count == 1 else what}"


def parameters_of(record: RunRecord) -> int:
    """Return the number of the model's parameters."""
    model = record.config.model.build(record.stored.problem, torch.device("meta"))
    return sum(each.numel() for each in model.parameters())
