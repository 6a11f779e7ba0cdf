"""Where the rows of sequences of different lengths stand, one time step after the other.

This is the layout of torch's PackedSequence (time_steps.py). The positions are computed on the CPU
by numpy, in whose small arrays a call takes a tenth of torch's time. A tape takes part: what it
records of a batch holds for other lengths if it knows what was made of them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bptrain.ops.recording import current_recorder


class PackedRows(NamedTuple):
    """The places of R rows of sequences that were padded to [B, T]."""

    batch_sizes: Tensor  # sequences that each time step has, on the CPU
    order: Tensor  # [B], the longest sequence first
    inverse: Tensor  # [B], what undoes the order
    rows: Tensor  # [R], of the padded batch [B T], by packed row
    positions: Tensor  # [B, T], 1 + the packed row; 0 is padding


def packed_rows(lengths: Tensor, steps: int, device: torch.device) -> PackedRows:
    """Return the places of sequences of `lengths` [B], padded to `steps`.

    Raises ValueError for a sequence of no steps, or of more than `steps`.
    """
    recorder = current_recorder()
    return (rows_of_lengths if recorder is None else recorder.pack)(lengths, steps, device)


def rows_of_lengths(lengths: Tensor, steps: int, device: torch.device) -> PackedRows:
    """Return the same without a tape."""
    counts = lengths.cpu().numpy()
    if not ((counts >= 1) & (counts <= steps)).all():
        raise ValueError(f"lengths are {counts.tolist()}, expected 1 to {steps}")
    order = np.argsort(-counts, kind="stable")
    running = np.arange(counts.max())[:, None] < counts[order]  # [T, B]
    step, position = running.nonzero()
    rows = order[position] * steps + step
    positions = np.zeros(len(counts) * steps, dtype=np.int64)
    positions[rows] = np.arange(1, len(rows) + 1)
    return PackedRows(
        torch.tensor(running.sum(1)),
        torch.tensor(order, device=device),
        torch.tensor(order.argsort(), device=device),
        torch.tensor(rows, device=device),
        torch.tensor(positions.reshape(-1, steps), device=device),
    )


def sizes_of(batch_sizes: Tensor) -> tuple[int, ...]:
    """Return how many sequences each time step of packed rows has."""
    recorder = current_recorder()
    return tuple(batch_sizes.tolist()) if recorder is None else recorder.sizes(batch_sizes)
