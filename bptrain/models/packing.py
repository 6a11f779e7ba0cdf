"""Pack sequences of different lengths, and pad the outputs again.

Packed rows are in the order of torch's PackedSequence, without padding: the reverse direction then
begins at each sequence's own end, and no padded step is computed. Packing and unpacking are
lookups in a table of rows, by `bptrain.ops.embedding` and its backward pass.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from bptrain.ops.attention import scaled_dot_product_attention
from bptrain.ops.cat import cat
from bptrain.ops.embedding import embedding
from bptrain.ops.max_pool import max_pool1d


class Packing:
    """Positions of the steps of sequences of `lengths` [B], padded to `steps`, when packed.

    lengths are on the CPU or are copied there, which is the only sync point: the scan over time
    is a loop in Python. The positions are computed there by numpy, in whose small arrays a call
    takes a tenth of torch's time. Raises ValueError for a sequence of no steps, or of more than
    `steps`.
    """

    def __init__(self, lengths: Tensor, steps: int, device: torch.device) -> None:
        counts = lengths.cpu().numpy()
        if not ((counts >= 1) & (counts <= steps)).all():
            raise ValueError(f"lengths are {counts.tolist()}, expected 1 to {steps}")
        order = np.argsort(-counts, kind="stable")  # the longest sequence first
        running = np.arange(counts.max())[:, None] < counts[order]  # [T, B]
        step, position = running.nonzero()
        rows = order[position] * steps + step
        positions = np.full(len(counts) * steps, len(rows))
        positions[rows] = np.arange(len(rows))
        self.batch_sizes = torch.tensor(running.sum(1))  # remains on the CPU
        self.order = torch.tensor(order, device=device)
        self.inverse = torch.tensor(order.argsort(), device=device)
        self.rows = torch.tensor(rows, device=device)  # [R] of the padded batch, by packed row
        # [B, T] packed rows; R is padding
        self.positions = torch.tensor(positions.reshape(-1, steps), device=device)

    @property
    def valid(self) -> Tensor:
        """Return a mask [B, T], true for steps that are not padding."""
        return self.positions < len(self.rows)

    def pack(self, padded: Tensor) -> Tensor:
        """Return the packed rows [R, ...] of tokens [B, T] or features [B, T, I]."""
        table = padded.flatten(0, 1)
        return embedding(self.rows, table) if table.dim() == 2 else table[self.rows]

    def as_sequence(self, rows: Tensor) -> PackedSequence:
        """Return packed rows [R, I] as the recurrent layers take them."""
        return PackedSequence(rows, self.batch_sizes, self.order, self.inverse)

    def unpack(self, rows: Tensor, padding: float = 0.0) -> Tensor:
        """Return packed rows [R, D] as [B, T, D]."""
        table = cat([rows, rows.new_full((1, rows.shape[1]), padding)], 0)
        return embedding(self.positions, table, padding_idx=len(rows))


def mean_over_time(steps: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean [B, D] over the steps [B, T, D] that `valid` [B, T] marks, or over all."""
    # attention with all scores 0 weighs each of the n unmasked steps by 1 / n
    key = steps.new_zeros(*steps.shape[:2], 1)
    mask = None if valid is None else valid.unsqueeze(1)
    return scaled_dot_product_attention(key[:, :1], key, steps, mask).squeeze(1)


def max_over_time(steps: Tensor) -> Tensor:
    """Return the largest value [B, D] of each feature of steps [B, T, D]; padding is -inf."""
    largest = max_pool1d(steps.transpose(1, 2), steps.shape[1])
    assert isinstance(largest, Tensor)
    return largest.squeeze(2)
