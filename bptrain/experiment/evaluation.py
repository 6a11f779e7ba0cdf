"""Evaluation of a checkpoint: loss, metrics, tables and pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Literal

from bptrain import tags
from bptrain.data import Batch, Split
from bptrain.errors import NonFiniteError
from bptrain.experiment.baselines import (
    Baseline,
    BaselineResult,
    BaselineWatch,
    deciding_metric,
    not_beaten,
)
from bptrain.experiment.build import Experiment, own_part
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.decisions import decision_of
from bptrain.experiment.loss_choice import choose_loss
from bptrain.experiment.plan import resolve_device, serve
from bptrain.experiment.saved_run import load_model, restore
from bptrain.experiment.stored_baselines import stored_baselines
from bptrain.monitor.console import format_values
from bptrain.plots.canvas import png_bytes
from bptrain.rundir.durable_files import make_own_directory, replace_file, storing
from bptrain.rundir.prepared import read_prepared
from bptrain.tasks import task_of
from bptrain.tasks.decision import BY_SOFTMAX, Decision
from bptrain.tasks.task import ResultFigure
from bptrain.train.evaluate import Watcher, evaluate, result_of, totals_of
from bptrain.train.precision import Precision
from bptrain.train.signals import StopRequest

PICTURES = "pictures"
CAUSES = "the weights have grown too far or the data holds extreme values"
HINT = "a smaller optimizer.lr, or schedule.warmup_steps; the last checkpoint is from before"


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint's loss and metrics by tag, with its tables and pictures (`figures`).

    baselines  the metrics of simple predictions of the same samples
    deciding   the metric by which a run beats a baseline or does not, and its direction
    decision   how the outputs became classes
    notes      why there are no baselines
    """

    checkpoint: str
    split: Literal["test", "val"]
    samples: int
    values: dict[str, float]
    figures: list[ResultFigure]
    baselines: Sequence[BaselineResult] = ()
    deciding: tags.Ranking = tags.BY_LOSS
    decision: Decision = BY_SOFTMAX
    notes: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """The metrics on one line."""
        source = f"{self.checkpoint}, {self.samples:,} samples"
        return f"{'test ' * (self.split == 'test')}{format_values(self.values)}  ({source})"

    @property
    def threshold(self) -> dict[str, float]:
        """The threshold by which two classes were told apart, by its name; {} without one."""
        threshold = self.decision.threshold
        return {} if threshold is None else {"threshold": threshold}

    @property
    def line_of_threshold(self) -> list[str]:
        """A line about the threshold, if there is one."""
        return [f"threshold of the second class: {value:.6g}" for value in self.threshold.values()]

    @property
    def baseline_values(self) -> dict[str, float]:
        """The metrics of the baselines by tag."""
        return {tag: value for each in self.baselines for tag, value in each.values.items()}

    @property
    def lines_of_baselines(self) -> list[str]:
        """A line for each baseline, and for each that the checkpoint does not beat."""
        lines = [*self.notes, *(each.summary for each in self.baselines)]
        return [*lines, *not_beaten(self.values, self.baselines, self.deciding)]


def evaluate_state(
    experiment: Experiment,
    checkpoint: Path,
    watchers: Sequence[Watcher] = (),
    most_batches: int | None = None,
    baselines: Sequence[Baseline] = (),
) -> Evaluation | None:
    """Load a checkpoint and evaluate it on the test split, or else on the validation split.

    Baselines predict the class with the largest output, whatever threshold the checkpoint has.

    watchers      see its predictions too
    most_batches  of the split that are evaluated; None for all of it
    baselines     that are evaluated on the same samples

    Returns None if there is neither; the checkpoint is loaded even then.
    """
    load_model(experiment.model, checkpoint)
    test, validation = experiment.dataset.test, experiment.dataset.validation
    split: Literal["test", "val"] = "val" if test is None else "test"
    samples = validation if test is None else test
    if samples is None:
        return None
    problem = experiment.dataset.problem
    task, decision = task_of(problem), decision_of(experiment.config, problem, checkpoint)
    builders = task.figures(problem, decision)
    metric = task.evaluation_metric(problem, decision)
    by_largest = task.evaluation_metric(problem, decision.by_largest)
    compared = [BaselineWatch(each, by_largest) for each in baselines]
    values = evaluate_split(
        replace(experiment, evaluation_metric=metric),
        split,
        [*builders, *watchers, *compared],
        state=f" of {checkpoint.name}",
        most_batches=most_batches,
    )
    figures = [figure for builder in builders if (figure := builder.build()) is not None]
    return Evaluation(
        checkpoint.name,
        split,
        len(samples),
        values,
        figures,
        [each.result() for each in compared],
        deciding_metric(experiment.config, metric, split),
        decision,
    )


def evaluate_files(run_dir: Path, config: ExperimentConfig, data: Path, state: Path) -> Evaluation:
    """Evaluate a checkpoint of a run on labelled data that it has not seen, by what it stored.

    data   a file or folder in the form of the training data, prepared as that was
    state  the folder of the checkpoint
    """
    problem, prepared = read_prepared(run_dir)
    device = resolve_device(config.device)
    split: Split = config.data.labelled(data, problem, prepared)
    model = restore(config, problem, split.bytes, device)
    load_model(model, state)
    task = task_of(problem)
    decision, loss = decision_of(config, problem, state), choose_loss(config.loss, problem)
    builders, metric = task.figures(problem, decision), task.evaluation_metric(problem, decision)
    by_largest = task.evaluation_metric(problem, decision.by_largest)
    baselines, notes = stored_baselines(run_dir, loss)
    compared = [BaselineWatch(each, by_largest) for each in baselines]
    values = evaluate(
        model,
        loss.build(problem).to(device),
        metric,
        serve(config, split.to(device)).epoch(0),
        Precision.of(config.precision, device, config.kernels),
        [*builders, *compared],
    )
    refuse_infinite_loss(values["loss"], f"the test loss is {values['loss']} of {state.name}")
    figures = [figure for builder in builders if (figure := builder.build()) is not None]
    return Evaluation(
        state.name,
        "test",
        len(split),
        tags.of_split("test", values),
        figures,
        [each.result() for each in compared],
        deciding_metric(config, metric, "test"),
        decision,
        notes,
    )


def save_pictures(run_dir: Path, evaluation: Evaluation) -> list[Path]:
    """Write the pictures of an evaluation into the run's folder and return their paths."""
    folder = run_dir / PICTURES / evaluation.checkpoint
    pictures = {each.name: each.picture for each in evaluation.figures if each.picture is not None}
    for name, picture in pictures.items():
        content = png_bytes(picture)
        with storing(folder):
            make_own_directory(folder.parent)
            make_own_directory(folder)
            replace_file(folder / f"{name}.png", content)
    return [folder / f"{name}.png" for name in pictures]


def evaluate_split(
    experiment: Experiment,
    prefix: Literal["val", "test"],
    watchers: Sequence[Watcher] = (),
    stop: StopRequest | None = None,
    state: str = "",
    most_batches: int | None = None,
) -> dict[str, float]:
    """Return the loss and metrics of the "val" or "test" split by tag; {} if it has no samples.

    Each process evaluates its rows of every batch, and has the result for all of them.

    stop          raises StopNow between two batches once a signal was received
    state         names the evaluated weights in the NonFiniteError of a loss that is not finite
    most_batches  of the split that are evaluated; None for all of it
    """
    dataset, update = experiment.dataset, experiment.update
    split = dataset.validation if prefix == "val" else dataset.test
    if split is None:
        return {}
    source = own_part(serve(experiment.config, split), experiment.ranks)
    batches: Iterable[Batch] = islice(source.epoch(0), most_batches)
    if stop is not None:
        batches = stop.between(batches)
    metric = experiment.evaluation_metric
    own = totals_of(
        experiment.model,
        experiment.loss_function,
        metric,
        batches,
        update.precision,
        watchers,
    )
    found = result_of(experiment.ranks.total(own), metric)
    refuse_infinite_loss(found["loss"], f"the {prefix} loss is {found['loss']}{state}")
    return tags.of_split(prefix, found)


def refuse_infinite_loss(loss: float, what: str) -> None:
    """Raise NonFiniteError for a loss that is not finite."""
    if not isfinite(loss):
        refuse_non_finite(what)


def refuse_non_finite(what: str, why: str = CAUSES) -> None:
    """Raise NonFiniteError with a hint."""
    raise NonFiniteError(what, why, HINT)
