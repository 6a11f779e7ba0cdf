"""The training loop: forward, loss, backward, update, epoch after epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from bptrain.tape import Engine
from bptrain.train.accumulation import groups, part_of_loss, shares
from bptrain.train.precision import Precision
from bptrain.train.update import Change, Update


class Batch(Protocol):
    """A batch: the arguments of the model, and those of the loss after the model's outputs."""

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

    @property
    def whole(self) -> int | None:
        """The weight of the whole batch, where these are one process's rows of it."""
        ...


class BatchSource(Protocol):
    """An iterable of batches for each epoch."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch (counted from 0), beginning with batch `start`."""
        ...


class Position(NamedTuple):
    """A run's position between two steps."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # counted from 0
    batch: int = 0  # batches of the epoch that were trained on


BEGINNING = Position()


class Pass(NamedTuple):
    """The forward pass of one batch of a step."""

    batch: Batch
    outputs: Tensor | None  # [B, ...], what the model predicted; None where nobody reads it
    loss: Tensor  # scalar: its share of the step's loss


@dataclass(frozen=True, slots=True)
class StepReport:
    """One finished step; its tensors are still on the device, and `.grad` is not cleared yet."""

    position: Position  # after the step
    loss: Tensor  # scalar: the mean over the predictions of all of the step's batches
    change: Change
    passes: list[Pass]


def fit(
    engine: Engine,
    batches: BatchSource,
    update: Update,
    total_steps: int,
    start: Position = BEGINNING,
) -> Iterator[StepReport]:
    """Train from `start` until `total_steps` steps are done, and yield a report after each.

    The batches of a step are passed one by one, so that only one's activations are in memory;
    their gradients are added in each parameter's `.grad`. Nothing here waits for the device: the
    caller decides when to read a report.
    """
    for position, group in steps_of(batches, update.batches, total_steps, start):
        if update.searches:
            yield search_step(engine, group, update, position)
            continue
        update.optimizer.zero_grad()
        passes = []
        for batch, share in zip(group, shares(group), strict=True):
            with update.precision.computing():
                run = engine.begin(batch.inputs, batch.targets)

                # 1. forward: what does the network predict?
                outputs = run.forward()

                # 2. loss: how wrong is it?
                part = run.loss()

            passes.append(pass_of(batch, outputs, part_of_loss(part.detach(), share)))
            is_last = len(passes) == len(group)
            completed = update.sums.begin(total_loss(passes)) if is_last else None

            # 3. backward: the gradient of the loss by every weight
            run.backward(partial(scaled_part, update.precision, share), completed)

        # 4. update: move each weight against its gradient, added over the processes of the run
        loss = update.sums.finish()
        change = update(position.step - 1, loss)

        yield StepReport(position, loss, change, passes)


def steps_of(
    batches: BatchSource, size: int, total_steps: int, start: Position
) -> Iterator[tuple[Position, list[Batch]]]:
    """Yield the batches of each remaining step: `size`, or fewer at the end of an epoch.

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
    engine: Engine, group: list[Batch], update: Update, position: Position
) -> StepReport:
    """Take a step of an optimizer that evaluates the loss several times, such as L-BFGS.

    As for any other optimizer, the report shows the loss before the step.
    """

    def backpropagate() -> list[Pass]:
        update.optimizer.zero_grad()
        passes = []
        for batch, share in zip(group, shares(group), strict=True):
            with update.precision.computing():
                run = engine.begin(batch.inputs, batch.targets)
                outputs, loss = run.forward(), run.loss()
            run.backward(partial(part_of_loss, share=share))
            passes.append(pass_of(batch, outputs, part_of_loss(loss.detach(), share)))
        return passes

    passes = backpropagate()
    loss = total_loss(passes)
    change = update.search(position.step - 1, loss, lambda: total_loss(backpropagate()))
    return StepReport(position, loss, change, passes)


def pass_of(batch: Batch, outputs: Tensor | None, loss: Tensor) -> Pass:
    """Return the forward pass of a batch, its outputs without what autograd keeps for them."""
    return Pass(batch, None if outputs is None else outputs.detach(), loss)


def total_loss(passes: list[Pass]) -> Tensor:
    """Return the mean loss over the predictions of all batches of a step."""
    first, *others = passes
    return sum((each.loss for each in others), first.loss)


def scaled_part(precision: Precision, share: float, loss: Tensor) -> Tensor:
    """Return what a batch's loss adds to the minimized one: its share, in fp16 scaled."""
    return precision.scaled(part_of_loss(loss, share))
