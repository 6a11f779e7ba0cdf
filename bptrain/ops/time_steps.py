"""Where the rows of each time step stand, for sequences of one length or of many.

A batch of sequences lies in memory one time step after the other: the N_0 rows of t = 0, then the
N_1 rows of t = 1, and so on to T - 1. The longest sequence comes first, so that the N_t sequences
which are still running at t are the first N_t of them, and N_0 >= N_1 >= ... This is the layout of
torch's PackedSequence. A batch of equal lengths [T, N, ...] has it too, with every N_t = N, so that
one implementation serves both and no padded step is ever computed.

States are stored together with those that the scan starts from,

    forward    start, after t = 0, after t = 1, ..., after t = T - 1
    reverse    after t = 0, ..., after t = T - 2, after t = T - 1, start

because then the states *before* every step are, for equal lengths, the same memory shifted by one
step: what the backward pass reads of them costs no copy.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Steps(NamedTuple):
    """The time steps of one scan over a batch."""

    sizes: tuple[int, ...]  # N_t
    is_reverse: bool = False

    @property
    def rows(self) -> int:
        """Return how many rows all steps have together."""
        return sum(self.sizes)

    @property
    def are_equal(self) -> bool:
        """Tell whether all sequences have one length."""
        return self.sizes[0] == self.sizes[-1]

    def by_step(
        self, *tensors: Tensor | None, backwards: bool = False
    ) -> Iterable[tuple[Any, ...]]:
        """Yield each step's rows of every tensor, in the order of the scan or `backwards`.

        None in a tensor's place stays None.
        """
        if len(self.sizes) == 1:
            return [tensors]  # a cell's single step, where cutting costs more than computing
        absent = (None,) * len(self.sizes)
        by_step: list[tuple[Any, ...]] = [
            absent if each is None else each.split(self.sizes) for each in tensors
        ]
        if self.is_reverse != backwards:
            by_step = [each[::-1] for each in by_step]
        return zip(*by_step, strict=True)

    def joined(self, steps: Sequence[Tensor]) -> Tensor:
        """Return the rows of all steps, given those of each in the order of the scan."""
        return torch.cat(tuple(steps[::-1] if self.is_reverse else steps))

    def joined_with_start(self, start: Tensor, after: Sequence[Tensor]) -> Tensor:
        """Return the states [N + rows, ...], given those after each step in the scan's order."""
        parts = [self.joined(after), start] if self.is_reverse else [start, self.joined(after)]
        return torch.cat(parts)

    def with_start(self, start: Tensor) -> Tensor:
        """Return room for the states of all steps [rows + N, ...], with `start` in its place."""
        states = start.new_empty(self.rows + len(start), *start.shape[1:])
        room = states[self.rows :] if self.is_reverse else states[: len(start)]
        room.copy_(start)
        return states

    def after(self, states: Tensor) -> Tensor:
        """Return the states after each step, a view."""
        return states[: self.rows] if self.is_reverse else states[self.sizes[0] :]

    def start(self, states: Tensor) -> Tensor:
        """Return the states that the scan starts from, a view."""
        return states[self.rows :] if self.is_reverse else states[: self.sizes[0]]

    def before(self, states: Tensor) -> Tensor:
        """Return the states before each step; a view if all sequences have one length."""
        if not self.are_equal:
            return states.index_select(0, self._before().to(states.device))
        return states[self.sizes[0] :] if self.is_reverse else states[: self.rows]

    def last(self, states: Tensor) -> Tensor:
        """Return a copy of the states [N, ...] that each sequence ends with."""
        if self.is_reverse:
            return states[: self.sizes[0]].clone()
        if self.are_equal:
            return states[self.rows :].clone()
        return states.index_select(0, self._last().to(states.device))

    def _before(self) -> Tensor:
        """Return, for every row, the row of `states` that holds the state before it."""
        sizes = torch.tensor(self.sizes)
        first = torch.tensor([0, *accumulate(self.sizes)])  # of each step; the last is `rows`
        sequence = torch.arange(self.rows) - first[:-1].repeat_interleave(sizes)
        if not self.is_reverse:  # N rows of start, then step t - 1 begins at N + first[t - 1]
            previous = torch.cat([first[:1], first[:-2] + self.sizes[0]])
            return previous.repeat_interleave(sizes) + sequence
        following = torch.cat([sizes[1:], sizes.new_zeros(1)]).repeat_interleave(sizes)
        step = first[1:].repeat_interleave(sizes)
        return torch.where(sequence < following, step, self.rows) + sequence

    def _last(self) -> Tensor:
        """Return, for every sequence, the row of `states` after its last step."""
        sequence = torch.arange(self.sizes[0])
        lengths = (torch.tensor(self.sizes)[:, None] > sequence).sum(0)
        first = torch.tensor([0, *accumulate(self.sizes)])
        return self.sizes[0] + first[lengths - 1] + sequence


def running(state: Tensor, start: Tensor, count: int) -> Tensor:
    """Return the state of the `count` sequences that a step has, given the state before it.

    In a scan forward sequences end and drop out; in reverse, shorter ones begin from `start`.
    """
    alive = len(state)
    if alive == count:
        return state
    return state[:count] if alive > count else torch.cat([state, start[alive:count]])
