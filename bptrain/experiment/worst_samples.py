"""The samples with the largest loss, as a person sees them: images, cells, texts."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from bptrain.data import DataConfig
from bptrain.experiment.build import Experiment
from bptrain.losses.each_sample import EachSample
from bptrain.monitor.explanation.heat_map import Picture, heat_map, image
from bptrain.monitor.report.run_view import Sample
from bptrain.problem import Problem
from bptrain.tasks import task_of
from bptrain.tasks.classification import is_image
from bptrain.tasks.decision import Decision
from bptrain.tasks.worst_samples import Worst, WorstSamples

FEW = 24  # numbers of an input that are shown as such
LONGEST_CELL = 600  # characters


class Watch:
    """Finds the worst samples of an evaluation, which continues if they cannot be found.

    worst  None before the first batch
    error  what went wrong, None for nothing
    """

    def __init__(self, experiment: Experiment) -> None:
        self._samples = WorstSamples(EachSample(experiment.loss_function))
        self.error: Exception | None = None

    @property
    def worst(self) -> Worst | None:
        """The worst samples of the batches so far."""
        return self._samples.worst

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Add a batch."""
        if self.error is not None:
            return
        try:
            self._samples.add(inputs, outputs, targets)
        except Exception as error:  # whatever it is: the evaluation is what a run is for
            self.error = error


def samples(worst: Worst, experiment: Experiment, decision: Decision) -> Iterator[Sample]:
    """Yield the worst samples, each with its prediction."""
    config, problem = experiment.config, experiment.dataset.problem
    answers = task_of(problem).describe(worst.outputs, worst.targets, problem, decision)
    inputs = worst.inputs[0].cpu()
    columns = zip(worst.losses.tolist(), worst.numbers.tolist(), answers, strict=True)
    for row, (value, number, (true, predicted)) in enumerate(columns):
        sample = inputs[row][: _steps(worst, row, problem)]
        picture, cells = _seen(sample, problem, config.data, experiment.dataset.prepared)
        yield Sample(
            number,
            value,
            _shortened(true),
            _shortened(predicted),
            picture,
            is_image(problem),
            cells,
        )


def _steps(worst: Worst, row: int, problem: Problem) -> int | None:
    """Return how many steps of a sample are no padding; None where all of them are not."""
    if problem.varies:
        return int(worst.inputs[1][row])
    if problem.output_kind.per == "carried step":
        return int((worst.targets[0][row] >= 0).sum())
    return None


def _seen(
    sample: Tensor, problem: Problem, data: DataConfig, prepared: Mapping[str, Any]
) -> tuple[Picture | None, dict[str, str]]:
    """Return the picture of an input, or its cells by column."""
    described = getattr(data, "described", None)  # of tables and texts
    if described is not None:
        cells: dict[str, str] = described(sample, prepared)
        return None, {name: _shortened(cell) for name, cell in cells.items()}
    if is_image(problem):
        return image(sample), {}
    if sample.dim() == 1 and len(sample) <= FEW:
        numbers = sample.tolist()
        return None, {f"x{n}": f"{value:.4g}" for n, value in enumerate(numbers, 1)}
    if not sample.numel():
        return None, {"input": "no steps"}
    turned = sample.T if problem.is_sequence and sample.dim() == 2 else sample  # time to the right
    return heat_map(torch.nan_to_num(turned.float())), {}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."
