"""Explained steps of an experiment: on one sample, from the weights at chosen times of training.

Training itself is the run's own, on its batches. An explained step is taken by a copy of the model
and the update, on a batch of the chosen sample: training continues as if it had not been.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from bptrain.data.batches import Batch
from bptrain.errors import UsageError
from bptrain.experiment.build import Experiment, update_of
from bptrain.experiment.plan import Plan, serve
from bptrain.monitor.explanation.explained import ExplainedStep
from bptrain.monitor.explanation.links import Explanation, WeightUpdate
from bptrain.monitor.explanation.one_weight import Given, follow, strongest_weight
from bptrain.ops.kernels import use_kernels
from bptrain.train.loop import Position, fit
from bptrain.train.states import CarriesState, OptimizerState
from bptrain.train.update import Update

TOGETHER = 8  # samples in a batch with the explained one, where statistics of a batch are needed


@dataclass(frozen=True)
class Sample:
    """The explained sample: the batch that it is in, and its row there."""

    number: int
    batch: Batch
    row: int


@dataclass(frozen=True)
class _OneBatch:
    """The source of an explained step's batch."""

    batch: Batch

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batch."""
        yield self.batch


def sample_of(experiment: Experiment, number: int) -> Sample:
    """Return a training sample, in the order of the data set.

    It is alone in its batch, or with its neighbors where the model takes statistics of a batch.
    Raises UsageError for a sample that does not exist, or without a target.
    """
    sample = _served(experiment, number, 1)
    model = deepcopy(experiment.model)
    with torch.no_grad(), torch.random.fork_rng(_devices(experiment)):
        try:
            model(*sample.batch.inputs)
        except ValueError:  # batch normalization of one value
            sample = _served(experiment, number, TOGETHER)
    return sample


def _served(experiment: Experiment, number: int, together: int) -> Sample:
    config = experiment.config
    small = config.model_copy(
        update={"data": config.data.model_copy(update={"batch_size": together})}
    )
    source = serve(small, experiment.dataset.train)
    first, row = divmod(number, together)
    if first >= len(source):
        raise UsageError(
            f"there is no training sample {number:,}",
            f"they are counted from 0 to {len(source) * together - 1:,}",
            "a smaller --sample",
        )
    batch = next(source.epoch(0, first))
    if not batch.weight:
        raise UsageError(
            f"training sample {number:,} has no target",
            "so that no loss begins",
            "another --sample",
        )
    copied = batch._replace(  # a slice would keep all samples in memory with it
        inputs=tuple(each.clone() if isinstance(each, Tensor) else each for each in batch.inputs),
        targets=tuple(each.clone() for each in batch.targets),
    )
    return Sample(number, copied, row)


def explanations(
    plan: Plan, experiment: Experiment, sample: Sample, times: Sequence[int]
) -> Iterator[Explanation]:
    """Train, and yield the explained step at each of these numbers of steps taken before it.

    Raises OffTapeError for a model that does not run on the tape, UsageError for a time after the
    run's last step.
    """
    last = max(times)
    if last >= experiment.total_steps:
        raise UsageError(
            f"the run has {experiment.total_steps:,} steps, and cannot take {last:,} before the "
            "explained one",
            hint="a smaller --steps, or a larger train.steps",
        )
    if 0 in times:
        yield explain(plan, experiment, sample, 0)
    reports = fit(experiment.engine, experiment.batches, experiment.update, last)
    for report in reports if last else ():
        if report.position.step in times:
            yield explain(plan, experiment, sample, report.position.step)


def explain(plan: Plan, experiment: Experiment, sample: Sample, step: int) -> Explanation:
    """Take a step on the sample with copies, by the formulas of the derivations."""
    model, loss = deepcopy((experiment.model, experiment.loss_function))
    model.train()
    if isinstance(model, CarriesState):
        model.carry_on({})  # the state is another batch's
    given = Given(*deepcopy((model, loss)), sample.batch.inputs, sample.batch.targets)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    update, engine = _copied_update(plan, experiment, model), ExplainedStep(model, loss)
    with _drawing(experiment, step):
        report = next(fit(engine, _OneBatch(sample.batch), update, step + 1, Position(step)))
    passes = engine.passes
    assert passes is not None, "the step has run"
    weight = strongest_weight(model, passes.links)
    with _drawing(experiment, step), use_kernels("formula"):
        followed = None if weight is None else follow(given, weight, passes.links)
    updates = [
        WeightUpdate(name, before[name], each.grad, each.detach().clone())
        for name, each in model.named_parameters()
    ]
    return Explanation(
        step=step,
        row=sample.row,
        loss=float(report.loss),
        lr=report.change.lr,
        norms=(float(report.change.norms[0]), float(report.change.clipped[0])),
        links=passes.links,
        updates=tuple(updates),
        weight=followed,
        windows=passes.windows,
        scans=passes.scans,
    )


def _copied_update(plan: Plan, experiment: Experiment, model: torch.nn.Module) -> Update:
    """Return an update of the copy in the state of the run's, whose passes are the formulas."""
    now, copied = experiment.update, update_of(plan, model)
    state = deepcopy(OptimizerState(now.optimizer).state())
    OptimizerState(copied.optimizer).restore(state)
    copied.precision.restore(now.precision.state())
    copied.precision.kernels = "formula"
    copied.schedule = now.schedule
    return copied


@contextmanager
def _drawing(experiment: Experiment, step: int) -> Iterator[None]:
    """Draw random numbers, such as dropout's masks, of this step alone, inside the block."""
    with torch.random.fork_rng(_devices(experiment)):
        torch.manual_seed(experiment.config.seed + step)
        yield


def _devices(experiment: Experiment) -> list[torch.device]:
    return [experiment.device] if experiment.device.type == "cuda" else []
