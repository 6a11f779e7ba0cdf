"""Loss and metrics, of whole splits and of the training steps between two log lines."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bptrain.train.loop import Batch, StepReport


class Metric(Protocol):
    """Measures of a task besides the loss, gathered batch by batch without leaving the device."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each measure."""
        ...

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return what adds up over batches [m], in float64."""
        ...

    def figures(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics by name from the sums over all batches."""
        ...


class Watcher(Protocol):
    """Whoever looks at every answer of an evaluation, to show some of them later."""

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Take in a batch, without waiting for the device."""
        ...


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loss_function: nn.Module,
    metric: Metric,
    batches: Iterable[Batch],
    watchers: Sequence[Watcher] = (),
) -> dict[str, float]:
    """Return the mean loss and the metrics over the batches; the model's mode is left as found."""
    was_training = model.training
    model.eval()
    weight = 0
    totals: Tensor | float = 0.0
    for batch in batches:
        outputs = model(*batch.inputs)
        loss = loss_function(outputs, *batch.targets)
        # float64: a sum over a large split in float32 would round off the last samples
        sums = [loss.double().view(1) * batch.weight, metric.sums(outputs, batch.targets)]
        totals = totals + torch.cat(sums)
        weight += batch.weight
        for watcher in watchers:
            watcher.add(batch.inputs, outputs, batch.targets)
    model.train(was_training)
    assert isinstance(totals, Tensor)  # a split holds a sample at least
    loss_sum, *rest = totals.tolist()  # the one host copy of an evaluation
    return {"loss": loss_sum / weight, **metric.figures(rest)}


@dataclass
class StepWindow:
    """The steps since the last log line, their numbers still on the device.

    The clock runs from `restart` to `read`, so that evaluation and saving between two windows
    are not counted as training.
    """

    metric: Metric
    losses: list[Tensor] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    samples: int = 0
    started_s: float = field(default_factory=time.perf_counter)

    def add(self, report: StepReport) -> None:
        """Take in a step, without waiting for the device."""
        self.losses.append(report.loss)
        self.sums.append(self.metric.sums(report.outputs, report.batch.targets))
        self.samples += len(report.outputs)

    def read(self, extra: Tensor) -> tuple[list[float], dict[str, float], list[float]]:
        """Return the loss of each step, the window's figures and the values of `extra` [M].

        This is the one host copy, and on CUDA the one wait, of a log line.
        """
        steps = len(self.losses)
        sums = torch.stack(self.sums).sum(0)
        values = torch.cat([torch.stack(self.losses).double(), sums, extra.double()]).tolist()
        elapsed_s = time.perf_counter() - self.started_s
        measured, end = values[steps:], steps + len(sums)
        metrics = self.metric.figures(measured[: len(sums)])
        figures = {
            "train/loss": sum(values[:steps]) / steps,
            **{f"train/{name}": value for name, value in metrics.items()},
            "perf/samples_per_s": self.samples / elapsed_s,
            "perf/step_ms": 1e3 * elapsed_s / steps,
        }
        return values[:steps], figures, values[end:]

    def restart(self) -> None:
        """Begin the next window now."""
        self.losses, self.sums, self.samples = [], [], 0
        self.started_s = time.perf_counter()
