"""Pack sequences of different lengths, and pad the outputs again.

Packed rows are in the order of torch's PackedSequence, without padding: the reverse direction then
begins at each sequence's own end, and no padded step is computed. Packing and unpacking are
lookups in a table of rows, by `bptrain.ops.embedding` and its backward pass.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from bptrain.ops.attention import scaled_dot_product_attention
from bptrain.ops.cat import cat
from bptrain.ops.embedding import embedding
from bptrain.ops.max_pool import max_pool1d
from bptrain.ops.packed_rows import packed_rows


class Packing:
    """Positions of the steps of sequences of `lengths` [B], padded to `steps`, when packed.

    lengths are on the CPU or are copied there, which is the only sync point: the scan over time
    is a loop in Python. Raises ValueError for a sequence of no steps, or of more than `steps`.
    """

    def __init__(self, lengths: Tensor, steps: int, device: torch.device) -> None:
        found = packed_rows(lengths, steps, device)
        self.batch_sizes, self.order, self.inverse, self.rows, self.positions = found

    @property
    def valid(self) -> Tensor:
        """Return a mask [B, T], true for steps that are not padding."""
        return self.positions > 0

    def pack(self, padded: Tensor) -> Tensor:
        """Return the packed rows [R, ...] of tokens [B, T] or features [B, T, I]."""
        table = padded.flatten(0, 1)
        return embedding(self.rows, table) if table.dim() == 2 else table[self.rows]

    def as_sequence(self, rows: Tensor) -> PackedSequence:
        """Return packed rows [R, I] as the recurrent layers take them."""
        return PackedSequence(rows, self.batch_sizes, self.order, self.inverse)

    def unpack(self, rows: Tensor, padding: float = 0.0) -> Tensor:
        """Return packed rows [R, D] as [B, T, D]."""
        table = cat([rows.new_full((1, rows.shape[1]), padding), rows], 0)
        return embedding(self.positions, table, padding_idx=0)


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
