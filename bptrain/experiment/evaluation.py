"""What a trained state is worth: loss, metrics, and what is shown of its answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from bptrain.data import Batch
from bptrain.errors import NonFiniteError
from bptrain.experiment.build import Experiment
from bptrain.experiment.plan import serve
from bptrain.experiment.saved_run import load_model
from bptrain.monitor.console import figures
from bptrain.rundir.durable_files import make_own_directory, replace_file, storing
from bptrain.tasks.exhibits import Shown, exhibits_of
from bptrain.tasks.pictures import png_bytes
from bptrain.train.evaluate import Watcher, evaluate
from bptrain.train.signals import StopRequest

PICTURES = "pictures"
CAUSES = "the weights have grown too far or the data holds extreme values"


@dataclass(frozen=True)
class Judged:
    """What became of a state: its loss and metrics by tag, and what is shown of its answers."""

    checkpoint: str
    split: Literal["test", "val"]
    samples: int
    values: dict[str, float]
    shown: list[Shown]

    @property
    def summary(self) -> str:
        """The figures in a line."""
        held = f"{self.checkpoint}, {self.samples:,} samples"
        return f"{'test ' * (self.split == 'test')}{figures(self.values)}  ({held})"


def judge(experiment: Experiment, checkpoint: Path) -> Judged | None:
    """Load a state and evaluate it on the test split, on the validation split if there is none.

    Returns None where there is neither; the state is loaded all the same. What a task shows of its
    answers beyond its exhibits, as text that the model writes, is appended to `shown` here.
    """
    load_model(experiment.model, checkpoint)
    test, validation = experiment.dataset.test, experiment.dataset.validation
    split: Literal["test", "val"] = "val" if test is None else "test"
    judging = validation if test is None else test
    if judging is None:
        return None
    exhibits = exhibits_of(experiment.dataset.problem)
    values = evaluate_split(experiment, split, exhibits, state=f" of {checkpoint.name}")
    shown = [each for exhibit in exhibits if (each := exhibit.show()) is not None]
    return Judged(checkpoint.name, split, len(judging), values, shown)


def save_pictures(run_dir: Path, judged: Judged) -> list[Path]:
    """Write the pictures of a judged state into the run's folder and return their paths."""
    folder = run_dir / PICTURES / judged.checkpoint
    pictures = {each.name: each.picture for each in judged.shown if each.picture is not None}
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
) -> dict[str, float]:
    """Return the loss and metrics of the "val" or "test" split by tag; {} if it has no samples.

    stop   ends it between two batches, by StopNow, once a signal has come
    state  what is evaluated, in the words of the NonFiniteError for a loss that is not finite
    """
    dataset, update = experiment.dataset, experiment.update
    split = dataset.validation if prefix == "val" else dataset.test
    if split is None:
        return {}
    batches: Iterable[Batch] = serve(experiment.config, split).epoch(0)
    if stop is not None:
        batches = stop.between(batches)
    measured = evaluate(
        experiment.model,
        experiment.loss_function,
        experiment.evaluation_metric,
        batches,
        update.precision,
        watchers,
    )
    if not isfinite(measured["loss"]):
        refuse_non_finite(f"the {prefix} loss is {measured['loss']}{state}")
    return {f"{prefix}/{name}": value for name, value in measured.items()}


def refuse_non_finite(what: str, why: str = CAUSES) -> None:
    """Raise NonFiniteError with what to try."""
    raise NonFiniteError(
        what,
        why,
        "a smaller optimizer.lr, or schedule.warmup_steps; the last checkpoint is from before",
    )
