"""The samples of an evaluation with the largest loss, each with what was predicted."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bptrain.tasks.task import IGNORED

MOST = 12  # samples


class Worst(NamedTuple):
    """The worst samples, the worst one first.

    losses   [n]
    numbers  [n] of the samples in their split, counted from 0
    inputs, outputs, targets  of these samples alone
    """

    losses: Tensor
    numbers: Tensor
    inputs: tuple[Any, ...]
    outputs: Tensor
    targets: tuple[Tensor, ...]


class WorstSamples:
    """Watches an evaluation and keeps the worst samples.

    It waits for the device only where a batch holds tensors on the CPU, such as lengths.

    losses_of  returns the loss of each sample [N] of outputs and targets
    """

    def __init__(
        self, losses_of: Callable[[Tensor, tuple[Tensor, ...]], Tensor], most: int = MOST
    ) -> None:
        self.losses_of, self.most = losses_of, most
        self.seen = 0
        self.worst: Worst | None = None

    def add(self, inputs: tuple[Any, ...], outputs: Tensor, targets: tuple[Tensor, ...]) -> None:
        """Keep the worst of the batch and of those before."""
        losses = self.losses_of(outputs, targets).float().nan_to_num(torch.inf, torch.inf)
        numbers = torch.arange(self.seen, self.seen + len(outputs), device=losses.device)
        self.seen += len(outputs)
        found = self._chosen(Worst(losses, numbers, inputs, outputs, targets))
        self.worst = found if self.worst is None else self._chosen(_together(self.worst, found))

    def _chosen(self, given: Worst) -> Worst:
        losses, rows = given.losses.topk(min(self.most, len(given.losses)))

        def chosen(each: Any) -> Any:
            return each[rows.to(each.device)] if isinstance(each, Tensor) else each

        inputs, targets = tuple(map(chosen, given.inputs)), tuple(map(chosen, given.targets))
        return Worst(losses, chosen(given.numbers), inputs, chosen(given.outputs), targets)


def _together(one: Worst, other: Worst) -> Worst:
    return Worst(
        torch.cat([one.losses, other.losses]),
        torch.cat([one.numbers, other.numbers]),
        _joined(one.inputs, other.inputs),
        _padded_cat(one.outputs, other.outputs),
        _joined(one.targets, other.targets, IGNORED),
    )


def _joined(one: Sequence[Any], other: Sequence[Any], padding: int = 0) -> tuple[Any, ...]:
    """Return the tensors of two batches one after the other; what is no tensor is the first's."""
    pairs = zip(one, other, strict=True)
    return tuple(_padded_cat(a, b, padding) if isinstance(a, Tensor) else a for a, b in pairs)


def _padded_cat(one: Tensor, other: Tensor, padding: int = 0) -> Tensor:
    """Return tensors [N, T, ...] joined: a text's last window is shorter, and is padded."""
    if one.dim() > 1 and one.shape[1] != other.shape[1]:
        longest = max(one.shape[1], other.shape[1])
        one, other = (_padded(each, longest, padding) for each in (one, other))
    return torch.cat([one, other])


def _padded(tensor: Tensor, steps: int, padding: int) -> Tensor:
    missing = (0, 0) * (tensor.dim() - 2) + (0, steps - tensor.shape[1])
    return functional.pad(tensor, missing, value=padding)
