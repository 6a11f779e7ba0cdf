"""The loss's gradient by the state of a recurrent layer after each time step, as norms over time.

Where it shrinks from the last step to the first by powers of ten, early inputs do not reach the
weights' gradient: it vanishes through time. Where it grows, it explodes.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from bptrain.ops.time_steps import Steps

MOST_STEPS = 64  # of a list in the log


class Part(NamedTuple):
    """The norms of one scan [T], and the batch of the step that it belongs to."""

    batch: int
    norms: Tensor


def norms_by_step(grad_h: Tensor, steps: Steps) -> Tensor:
    """Return the 2-norm, over batch and units, of dL/dh_t [B, P] after each time step [T]."""
    if steps.are_equal:
        return norm_of(grad_h.reshape(len(steps.sizes), -1), 1)
    by_row = norm_of(grad_h, 1)
    sizes = torch.tensor(steps.sizes)
    step_of = torch.arange(len(sizes)).repeat_interleave(sizes).to(by_row.device)
    sums = by_row.new_zeros(len(sizes)).index_add_(0, step_of, by_row.square())
    return sums.sqrt_()


def norm_of(x: Tensor, dim: int | None = None) -> Tensor:
    """Return the 2-norm in float64: in a run that diverges, squares overflow float32 at 1e19."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=dim, dtype=torch.float64)
    return norm


def profile(parts: Sequence[Part]) -> Tensor:
    """Return the norm of each time step over all batches of a training step, at most 64 of them.

    parts  in the order of the backward passes. Several scans in one batch, such as a cell's single
           steps, follow each other in time.
    """
    squares: Tensor | None = None
    by_batch = sorted(parts, key=lambda part: part.batch)  # one backward pass may be of several
    for _, of_batch in groupby(by_batch, key=lambda part: part.batch):
        norms = torch.cat([part.norms for part in [*of_batch][::-1]])
        squares = norms.square() if squares is None else _sum(squares, norms.square())
    assert squares is not None, "a scan has at least one time step"
    if len(squares) > MOST_STEPS:
        squares = squares[shown_steps(len(squares))]
    return squares.sqrt()


def shown_steps(count: int) -> list[int]:
    """Return 64 of `count` time steps, evenly from the first to the last."""
    return [round(k * (count - 1) / (MOST_STEPS - 1)) for k in range(MOST_STEPS)]


def _sum(a: Tensor, b: Tensor) -> Tensor:
    """Return a + b, the shorter one continued by zeros."""
    length = max(len(a), len(b))
    return pad(a, (0, length - len(a))) + pad(b, (0, length - len(b)))
