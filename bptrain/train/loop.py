"""The training loop: forward, loss, backward, update, epoch after epoch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Batch(Protocol):
    """What one step sees: arguments of the model, and of the loss after the model's outputs."""

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

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch counted from 0."""
        ...


@dataclass(frozen=True, slots=True)
class StepReport:
    """One finished step; its tensors are still on the device, and the gradients still stand."""

    step: int  # optimizer steps done, this one included
    epoch: int  # counted from 0
    ends_epoch: bool
    lr: float
    loss: Tensor  # scalar
    outputs: Tensor  # [B, ...]
    batch: Batch


def fit(
    model: nn.Module,
    loss_function: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float],
    batches: BatchSource,
    total_steps: int,
) -> Iterator[StepReport]:
    """Train for `total_steps` steps and yield a report after each.

    Nothing waits for the device here: the reader of the reports decides when to look.
    """
    base_lrs = [group["lr"] for group in optimizer.param_groups]
    step = 0
    for epoch in count():
        for number, batch in enumerate(batches.epoch(epoch), start=1):
            # 1. forward: what does the network say?
            outputs = model(*batch.inputs)

            # 2. loss: how wrong is it?
            loss = loss_function(outputs, *batch.targets)

            # 3. backward: how much is each weight to blame?
            optimizer.zero_grad()
            loss.backward()

            # 4. update: move each weight against its blame
            for group, base_lr in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = base_lr * schedule(step)
            optimizer.step()

            step += 1
            yield StepReport(
                step,
                epoch,
                ends_epoch=number == len(batches),
                lr=optimizer.param_groups[0]["lr"],
                loss=loss.detach(),
                outputs=outputs.detach(),
                batch=batch,
            )
            if step == total_steps:
                return
