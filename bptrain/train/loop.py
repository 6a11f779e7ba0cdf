"""The training loop: forward, loss, backward, update, epoch after epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple, Protocol

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


class Pass(NamedTuple):
    """One batch's part in a step."""

    batch: Batch
    outputs: Tensor  # [B, ...], what the model predicted
    loss: Tensor  # scalar: its share of the step's loss


@dataclass(frozen=True, slots=True)
class StepReport:
    """One finished step; its tensors are still on the device, and the gradients still stand."""

    position: Position  # after the step
    loss: Tensor  # scalar: the mean over the predictions of all of the step's batches
    change: Change
    passes: list[Pass]


def fit(
    model: nn.Module,
    loss_function: nn.Module,
    batches: BatchSource,
    update: Update,
    total_steps: int,
    start: Position = BEGINNING,
) -> Iterator[StepReport]:
    """Train from `start` until `total_steps` steps are done, and yield a report after each.

    The batches of a step are passed one by one, so that only one's activations are held; autograd
    adds up their gradients. Nothing waits for the device here: the reader of the reports decides
    when to look.
    """
    for position, group in steps_of(batches, update.batches, total_steps, start):
        if update.searches:
            yield search_step(model, loss_function, group, update, position)
            continue
        update.optimizer.zero_grad()
        passes = []
        for batch, share in zip(group, shares(group), strict=True):
            with update.precision.computing():
                # 1. forward: what does the network predict?
                outputs = model(*batch.inputs)

                # 2. loss: how wrong is it?
                loss = loss_function(outputs, *batch.targets)

            # 3. backward: the gradient of the loss by every weight
            # (to compare the shape of a gradient given to `backward`, torch imports sympy: 0.4 s)
            update.precision.scaled(loss * share).backward()
            passes.append(Pass(batch, outputs.detach(), loss.detach() * share))

        # 4. update: move each weight against its gradient
        change = update(position.step - 1)

        yield StepReport(position, total_loss(passes), change, passes)


def steps_of(
    batches: BatchSource, size: int, total_steps: int, start: Position
) -> Iterator[tuple[Position, list[Batch]]]:
    """Yield the batches of each step that is left, `size` or what an epoch has left of them.

    The position is the one after the step.
    """
    step, used = start.step, start.batch
    for epoch in count(start.epoch) if step < total_steps else ():
        for group in groups(batches.epoch(epoch, used), size):
            step += 1
            used += len(group)
            yield Position(step, epoch, used), group
            if step == total_steps:
                return
        used = 0


def search_step(
    model: nn.Module,
    loss_function: nn.Module,
    group: list[Batch],
    update: Update,
    position: Position,
) -> StepReport:
    """Take a step of an optimizer that asks for the loss at several weights, such as L-BFGS.

    The report is of the weights from before the step, as it is of any other optimizer.
    """

    def backpropagate() -> list[Pass]:
        update.optimizer.zero_grad()
        passes = []
        for batch, share in zip(group, shares(group), strict=True):
            with update.precision.computing():
                outputs = model(*batch.inputs)
                loss = loss_function(outputs, *batch.targets)
            (loss * share).backward()
            passes.append(Pass(batch, outputs.detach(), loss.detach() * share))
        return passes

    passes = backpropagate()
    loss = total_loss(passes)
    change = update.search(position.step - 1, loss, lambda: total_loss(backpropagate()))
    return StepReport(position, loss, change, passes)


def total_loss(passes: list[Pass]) -> Tensor:
    """Return the mean loss over the predictions of all batches of a step."""
    first, *others = passes
    return sum((each.loss for each in others), first.loss)
