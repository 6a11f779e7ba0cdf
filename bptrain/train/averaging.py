"""Exponential moving average of the weights, often better than the weights of the last step.

After step t, counted from 0, with a = the average and w = the model:

    d = min(decay, (1 + t) / (10 + t))
    a = d a + (1 - d) w

The average begins at the initial weights, which are random. With a plain decay of 0.999 they
would still be 37 % of it after 1000 steps, and would dominate a short run's evaluation. The first
values of d are smaller (0.1, 0.18, 0.25, ...), so the initial weights are forgotten within a few
steps; d reaches `decay` at step (10 decay - 1) / (1 - decay), 8990 for 0.999.
Source of d: tf.train.ExponentialMovingAverage, with its num_updates.

Floating-point buffers are averaged as the parameters are. A running mean or variance describes
a layer's inputs under the weights of about the last ten steps, and not under weights averaged
over a thousand. The average of the statistics over the same steps is closer to that, and does not
jump with the last batches. timm's ModelEmaV3 does the same; torch's AveragedModel does not average
buffers unless use_buffers is set. Other buffers, such as a count of batches, are copied.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from bptrain.stateful import PlainState, Tree, mapping
from bptrain.train.states import refuse_other_tensors


class Updates(PlainState):
    """The number of steps that were averaged."""

    updates: int = Field(ge=0)


class AveragedWeights:
    """The average of a model's parameters and buffers over its steps, on the model's device.

    It covers everything in `model.state_dict()`; a tensor with two names is averaged once.

    part  of a tensor that this process holds and averages; all of it where no other process does
    """

    def __init__(
        self, model: nn.Module, decay: float, part: Callable[[Tensor], Tensor] = lambda each: each
    ) -> None:
        self.model, self.decay, self.updates, self._part = model, decay, 0, part
        copies: dict[Tensor, Tensor] = {}
        lives = self._lives(model)
        for live in lives.values():
            copies.setdefault(live, live.detach().clone())
        self._averages = {name: copies[live] for name, live in lives.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the model's weights after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = self._pairs(self.model)
        averaged = [(a, w) for a, w in pairs if a.is_floating_point()]
        copied = [(a, w) for a, w in pairs if not a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in averaged], [w for _, w in averaged], 1 - decay)
        for average, live in copied:
            average.copy_(live)
        self.updates += 1

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Load the average into a model for the block, and then restore its own values.

        model  the averaged model or another with the same state_dict; it must not be trained
               inside the block, and changes made to it there are undone
        """
        pairs = self._pairs(model)
        own = [live.detach().clone() for _, live in pairs]
        try:
            _copy([live for _, live in pairs], [average for average, _ in pairs])
            yield
        finally:
            _copy([live for _, live in pairs], own)

    def tensors(self) -> dict[str, Tensor]:
        """Return the average under the names of `model.state_dict()`; live tensors, not copies."""
        return dict(self._averages)

    def state(self) -> dict[str, Any]:
        """Return the average and the number of averaged steps."""
        return {"updates": self.updates, "tensors": self.tensors()}

    @torch.no_grad()
    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises ValueError for one of another model."""
        plain = dict(mapping(state))
        tensors = plain.pop("tensors", None)
        refuse_other_tensors(tensors, self._averages)
        self.updates = Updates.read(plain).updates
        for name, average in self._averages.items():
            average.copy_(tensors[name])

    def _pairs(self, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Return pairs of an average and the model's own tensor, each once."""
        lives = self._lives(model)
        once = {average: lives[name] for name, average in self._averages.items()}
        return list(once.items())

    def _lives(self, model: nn.Module) -> dict[str, Tensor]:
        """Return a model's parameters and buffers by name, not copied."""
        return {
            name: self._part(value)
            for name, value in model.state_dict(keep_vars=True).items()
            if isinstance(value, Tensor)
        }


@torch.no_grad()
def _copy(into: list[Tensor], values: list[Tensor]) -> None:
    torch._foreach_copy_(into, values)
