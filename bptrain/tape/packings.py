"""What a record holds of the lengths of sequences that were packed (ops/packed_rows.py)."""

from typing import NamedTuple

import torch


class Packing(NamedTuple):
    """What was made of the lengths of a batch's sequences.

    lengths  the number of their tensor
    steps    to which they are padded
    device   where the places are
    numbers  of the fields of PackedRows, which are constants of the program
    sizes    of the time steps; the scans over packed rows have this very tuple
    """

    lengths: int
    steps: int
    device: torch.device
    numbers: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Return how many rows all sequences have together."""
        return sum(self.sizes)
