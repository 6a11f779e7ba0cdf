"""`explain`: the chain rule with the network's own numbers."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bptrain.errors import UsageError
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.explaining import explanations, sample_of
from bptrain.experiment.plan import plan
from bptrain.monitor.explanation.terminal import rendered
from bptrain.tape import OffTapeError
from bptrain.train.memory import allocating


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and where it is shown.

    sample  number of the training sample
    steps   training steps that are taken before; the page shows some of them besides the last
    page    the HTML file to write; None for the terminal
    """

    sample: int
    steps: int
    page: Path | None


def explain(config: ExperimentConfig, options: ExplainOptions, console: Console) -> None:
    """Explain a training step on one sample, or raise UsageError if the tape cannot run it."""
    with allocating():
        planned = plan(config)
        experiment = build(planned)
        sample = sample_of(experiment, options.sample)
        try:
            (told,) = explanations(planned, experiment, sample, [options.steps])
        except OffTapeError as error:
            raise UsageError(
                "the step cannot be explained: it does not run on the tape",
                str(error),
                "layers of bptrain.nn alone; bptrain check names what is not",
            ) from error
    when = f"after {told.step:,} steps of training" if told.step else "before any training"
    console.print(f"{config.name}: a training step on sample {sample.number:,}, {when}")
    for part in rendered(told, config.optimizer.kind):
        console.print(part)
