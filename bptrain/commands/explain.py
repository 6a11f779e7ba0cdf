"""`explain`: the chain rule with the network's own numbers."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich.console import Console

from bptrain.errors import UsageError
from bptrain.experiment.batch_size import plan_for_training
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.explaining import Sample, explanations, sample_of
from bptrain.experiment.plan import Plan, refuse_learning_rules
from bptrain.experiment.starting_weights import starting_weights
from bptrain.monitor.explanation.links import Explanation
from bptrain.monitor.explanation.terminal import rendered
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.tape import OffTapeError
from bptrain.train.memory import allocating

PAGE_STEPS = 100  # of training that a page shows where nothing else is asked for
MOST_FRAMES = 8  # of a page's slider
OTHERWISE = "choose another file with --html"
MOST_LINKS = 240  # on a page, in all frames together: it stays at some megabytes


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and where it is shown.

    sample  number of the training sample
    steps   training steps that are taken before; a page's slider leads up to them
    page    the HTML file to write; None for the terminal
    """

    sample: int
    steps: int | None
    page: Path | None


def explain(config: ExperimentConfig, options: ExplainOptions, console: Console) -> None:
    """Explain a training step on one sample, or raise UsageError if the tape cannot run it."""
    refuse_learning_rules(config, "the chain rule is explained, which a learning rule is not")
    with allocating():
        planned = plan_for_training(config)
        experiment = build(planned, starting_weights(planned))
        sample = sample_of(experiment, options.sample)
        try:
            if options.page is None:
                steps = options.steps or 0
                (explanation,) = explanations(planned, experiment, sample, [steps])
                _print(config, sample, explanation, console)
            else:
                _write_page(planned, experiment, sample, options, console)
        except OffTapeError as error:
            raise UsageError(
                "the step cannot be explained: it does not run on the tape",
                str(error),
                "layers of bptrain.nn alone; bptrain check names what is not",
            ) from error


def _print(
    config: ExperimentConfig, sample: Sample, explanation: Explanation, console: Console
) -> None:
    when = (
        f"after {explanation.step:,} steps of training"
        if explanation.step
        else "before any training"
    )
    console.print(f"{config.name}: a training step on sample {sample.number:,}, {when}")
    for part in rendered(explanation, config.optimizer.kind):
        console.print(part)


def _write_page(
    planned: Plan,
    experiment: Experiment,
    sample: Sample,
    options: ExplainOptions,
    console: Console,
) -> None:
    from bptrain.monitor.explanation.page import About, page  # with PIL, for its pictures

    assert options.page is not None
    refuse_unwritable(options.page)  # before the training
    steps = options.steps
    last = min(PAGE_STEPS, experiment.total_steps - 1) if steps is None else steps
    (first,) = explanations(planned, experiment, sample, [0])
    times = times_of(last, min(MOST_FRAMES, max(2, MOST_LINKS // len(first.links))))
    later = explanations(planned, experiment, sample, times[1:]) if last else ()
    about = About(
        planned.config.name, sample.number, planned.config.optimizer.kind, experiment.total_steps
    )
    content = page(about, list(chain([first], later))).encode("utf-8", "replace")
    with storing(options.page, OTHERWISE):
        replace_file(options.page, content)
    console.print(f"{options.page}: {len(content) / 1e6:.1f} MB, open it in a browser")


def refuse_unwritable(path: Path) -> None:
    """Raise StorageError if the file cannot be written, and leave it as it is."""
    was_there = path.exists()
    with storing(path, OTHERWISE):
        path.open("ab").close()
        if not was_there:
            path.unlink()


def times_of(last: int, count: int) -> list[int]:
    """Return some numbers of steps from 0 to the last, the early ones closer together."""
    if last == 0:
        return [0]
    times = {0, last}
    for n in range(1, count - 1):
        times.add(round((last + 1) ** (n / (count - 1))) - 1)
    return sorted(times)
