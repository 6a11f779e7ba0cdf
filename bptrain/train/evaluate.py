"""Loss and metrics of whole splits, and of the training steps between two log lines."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bptrain import tags
from bptrain.stateful import Tree, mapping
from bptrain.train.accumulation import part_of_loss
from bptrain.train.loop import Batch, StepReport
from bptrain.train.precision import Precision
from bptrain.train.ranks import Ranks
from bptrain.train.states import tensor

CPU = torch.device("cpu")


class Metric(Protocol):
    """A task's metrics besides the loss, accumulated batch by batch on the device."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each metric."""
        ...

    @property
    def larger_is_better(self) -> tuple[str, ...]:
        """Names of the metrics of which a larger value is better; of the others a smaller one."""
        ...

    def sums(self, outputs: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Return a batch's sums [m] in float64, to be added up over batches."""
        ...

    def values(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics by name from the sums over all batches."""
        ...


@runtime_checkable
class LossMetric(Metric, Protocol):
    """Metrics that follow from the mean loss of a step: nobody needs to read the outputs."""

    def sums_of_loss(self, loss: Tensor, weight: int) -> Tensor:
        """Return the sums of a step's batches [m], as `sums` does.

        loss    the mean over the predictions of all of the step's batches
        weight  how many predictions these are
        """
        ...


class Watcher(Protocol):
    """Receives every prediction of an evaluation, for example to plot some of them."""

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Record a batch, without waiting for the device."""
        ...


def evaluate(
    model: nn.Module,
    loss_function: nn.Module,
    metric: Metric,
    batches: Iterable[Batch],
    precision: Precision,
    watchers: Sequence[Watcher] = (),
) -> dict[str, float]:
    """Return the mean loss and the metrics over the batches; the model's mode is restored.

    A batch whose targets are all ignored counts 0; if all of them are, the loss is 0.
    """
    return result_of(totals_of(model, loss_function, metric, batches, precision, watchers), metric)


def result_of(totals: Tensor, metric: Metric) -> dict[str, float]:
    """Return the mean loss and the metrics by name; the one host copy of an evaluation."""
    weight, loss_sum, *rest = totals.tolist()
    return {"loss": loss_sum / weight if weight else 0.0, **metric.values(rest)}


@torch.no_grad()
def totals_of(
    model: nn.Module,
    loss_function: nn.Module,
    metric: Metric,
    batches: Iterable[Batch],
    precision: Precision,
    watchers: Sequence[Watcher] = (),
) -> Tensor:
    """Return what adds up over batches, float64: their weights, losses and the metric's sums."""
    was_training = model.training
    model.eval()
    weight = 0
    totals: Tensor | float = 0.0
    try:
        for batch in batches:
            with precision.computing():
                outputs = model(*batch.inputs)
                loss = loss_function(outputs, *batch.targets)
            # float64: a sum over a large split in float32 would round off the last samples
            part = part_of_loss(loss.double().view(1), batch.weight)
            sums = sums_of_batch(metric, outputs, batch)
            totals = totals + torch.cat([part, sums])
            weight += batch.weight
            for watcher in watchers:
                watcher.add(batch.inputs, outputs, batch.targets)
    finally:
        model.train(was_training)
    assert isinstance(totals, Tensor)  # a split has at least one sample
    return torch.cat([totals.new_tensor([weight]), totals])


def sums_of_batch(metric: Metric, outputs: Tensor, batch: Batch) -> Tensor:
    """Return a metric's sums over a batch: 0 where nothing of it counts (see `Batch.part`)."""
    sums = metric.sums(outputs, batch.targets)
    return sums if batch.weight else torch.zeros_like(sums)


def sums_of_step(metric: Metric, report: StepReport) -> list[Tensor]:
    """Return a metric's sums over a training step, to be added up."""
    if isinstance(metric, LossMetric):
        return [metric.sums_of_loss(report.loss, sum(each.batch.weight for each in report.passes))]
    sums = []
    for batch, outputs, _ in report.passes:
        assert outputs is not None, "the engine returns what a metric reads"
        sums.append(sums_of_batch(metric, outputs, batch))
    return sums


@dataclass(frozen=True)
class Reading:
    """The values of a window of steps, on the host.

    losses   of each step
    norms    of each step's gradients before clipping: the total, then each layer's
    clipped  the norms of the last step's gradients after clipping
    means    over the window, by tag
    others   the tensors that were read with them
    """

    losses: list[float]
    norms: list[list[float]]
    clipped: list[float]
    means: dict[str, float]
    others: list[list[float]]


@dataclass
class StepWindow:
    """The steps since the last log line, their numbers still on the device.

    The clock runs from `restart` to `read`, so that evaluation and saving between two windows
    are not counted as training.
    """

    metric: Metric
    device: torch.device = CPU
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    clipped: list[Tensor] = field(default_factory=list)
    sums: list[Tensor] = field(default_factory=list)
    timed_steps: int = 0
    timed_samples: int = 0
    started_s: float = field(default_factory=time.perf_counter)

    def add(self, report: StepReport) -> None:
        """Record a step, without waiting for the device."""
        self.losses.append(report.loss)
        self.norms.append(report.change.norms)
        self.clipped = [report.change.clipped]
        self.sums += sums_of_step(self.metric, report)
        self.timed_samples += sum(len(each.batch.targets[0]) for each in report.passes)
        self.timed_steps += 1

    def read(self, others: Sequence[Tensor] = ()) -> Reading:
        """Return the values since the last restart, and those of `others`, each of one axis.

        This is the only host copy, and on CUDA the only wait, for a log line.
        """
        steps, layers = len(self.losses), len(self.norms[0])
        sums = torch.stack(self.sums).sum(0)
        parts = [torch.stack(self.losses), torch.cat(self.norms), self.clipped[0], sums, *others]
        values = iter(torch.cat([part.double() for part in parts]).tolist())
        elapsed_s = time.perf_counter() - self.started_s
        losses, norms, clipped, sums_of_metric, *rest = (
            [*islice(values, len(part))] for part in parts
        )
        metrics = self.metric.values(sums_of_metric)
        means = {
            tags.TRAIN_LOSS: sum(losses) / steps,
            **tags.of_split("train", metrics),
        }
        if self.timed_steps:  # none right after a resume
            means[tags.SAMPLES_PER_S] = self.timed_samples / elapsed_s
            means[tags.STEP_MS] = 1e3 * elapsed_s / self.timed_steps
        by_step = [norms[layers * step : layers * (step + 1)] for step in range(steps)]
        return Reading(losses, by_step, clipped, means, rest)

    def collect(self, ranks: Ranks) -> None:
        """Let rank 0, which reads and saves the window, count what all ranks did.

        Losses and norms are those of all of them already.
        """
        if ranks.count == 1 or not self.sums:
            return
        own = torch.stack(self.sums).sum(0)
        added = ranks.total(torch.cat([own, own.new_tensor([self.timed_samples])]))
        self.sums, self.timed_samples = [added[:-1]], int(added[-1])
        if ranks.rank != 0:
            self.forget_counts()

    def forget_counts(self) -> None:
        """Count nothing of the steps so far: another rank does."""
        self.sums = [torch.zeros_like(self.sums[0])] if self.sums else []
        self.timed_samples = 0

    def restart(self) -> None:
        """Begin the next window now."""
        self.losses, self.norms, self.clipped, self.sums = [], [], [], []
        self.resume_clock()

    def resume_clock(self) -> None:
        """Restart the timing, but keep the recorded steps."""
        self.timed_steps, self.timed_samples = 0, 0
        self.started_s = time.perf_counter()

    def state(self) -> dict[str, Tensor]:
        """Return the recorded steps, for a checkpoint between two log lines."""
        return {name: torch.stack(steps) for name, steps in self._held().items() if steps}

    def restore(self, state: Tree) -> None:
        """Continue with the steps of a checkpoint; raises ValueError for invalid ones."""
        self.restart()
        saved = {name: tensor(each).to(self.device) for name, each in mapping(state).items()}
        for name, steps in self._held().items():
            steps.extend(saved[name].unbind() if name in saved else ())
            axes = 0 if name == "losses" else 1  # of each step
            if any(each.dim() != axes or not each.is_floating_point() for each in steps):
                raise ValueError(
                    f"the unlogged steps' {name} have the shape {tuple(saved[name].shape)}"
                )
        counts = {name: len(steps) for name, steps in self._held().items()}
        taken = counts["losses"]
        expected = {"norms": taken, "clipped": min(taken, 1), "sums": counts["sums"]}
        if counts != {"losses": taken, **expected} or bool(taken) != bool(counts["sums"]):
            raise ValueError(f"the unlogged steps do not fit together: {counts}")

    def _held(self) -> dict[str, list[Tensor]]:
        held = {"losses": self.losses, "norms": self.norms}
        return {**held, "clipped": self.clipped, "sums": self.sums}
