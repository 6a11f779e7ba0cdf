"""The training loop: forward, loss, backward, update, epoch after epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bptrain.train.accumulation import groups, shares
from bptrain.train.update import Change, Update


class Batch(Protocol):
    """What one pass sees: arguments of the model, and of the loss after the model's outputs."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Arguments of the model."""
        ...

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """Arguments of the loss after the outputs."""
        ...

    @property
    def weight(self) -> int:
        """Predictions that the mean loss is taken over."""
        ...


class BatchSource(Protocol):
    """Whatever serves batches, an epoch at a time."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch counted from 0, from number `start` on."""
        ...


class Position(NamedTuple):
    """Where a run stands between two steps."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # counted from 0
    batch: int = 0  # batches of the epoch that are used up


BEGINNING = Position()


class Answer(NamedTuple):
    """What the model said to a batch."""

    batch: Batch
    outputs: Tensor  # [B, ...]


@dataclass(frozen=True, slots=True)
class StepReport:
    """One finished step; its tensors are still on the device, and the gradients still stand."""

    position: Position  # after the step
    loss: Tensor  # scalar: the mean over the predictions of all of the step's batches
    change: Change
    answers: list[Answer]


def fit(
    model: nn.Module,
    loss_function: nn.Module,
    batches: BatchSource,
    update: Update,
    total_steps: int,
    start: Position = BEGINNING,
) -> Iterator[StepReport]:
    """Train from `start` until `total_steps` steps are done, and yield a report after each.

    Nothing waits for the device here: the reader of the reports decides when to look.
    """
    step, used = start.step, start.batch
    epochs = count(start.epoch) if step < total_steps else ()
    for epoch in epochs:
        for group in groups(batches.epoch(epoch, used), update.batches):
            # 1. forward, 2. loss, 3. backward
            passes = partial(backpropagate, model, loss_function, group, update)
            loss, answers = passes()

            # 4. update: move each weight against its blame
            change = update(step, loss, passes)

            step += 1
            used += len(group)
            yield StepReport(Position(step, epoch, used), loss, change, answers)
            if step == total_steps:
                return
        used = 0


def backpropagate(
    model: nn.Module, loss_function: nn.Module, group: list[Batch], update: Update
) -> tuple[Tensor, list[Answer]]:
    """Lay the gradients of the mean loss over all predictions of a group into the parameters.

    The batches are passed one by one, so that only one's activations are held. Autograd adds up
    what each lays down; `accumulation.py` derives its share.
    """
    update.optimizer.zero_grad()
    mean: Tensor | float = 0.0
    answers = []
    for batch, share in zip(group, shares(group), strict=True):
        with update.precision.autocast():
            # 1. forward: what does the network say?
            outputs = model(*batch.inputs)

            # 2. loss: how wrong is it?
            loss = loss_function(outputs, *batch.targets)

        # 3. backward: how much is each weight to blame?
        loss.backward(update.precision.scaled(torch.full_like(loss, share)))

        mean = mean + loss.detach() * share
        answers.append(Answer(batch, outputs.detach()))
    assert isinstance(mean, Tensor)  # a group holds a batch at least
    return mean, answers
