"""Texts on the device: decoded from outputs, split into words, compared by edit distance.

All of it for a whole batch at once, without a copy to the host. A text is a pair: symbols [N, T]
padded after its end, and the lengths [N].
"""

from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

Texts: TypeAlias = tuple[Tensor, Tensor]

BLANK = 0
MIXERS = (0x1E3779B97F4A7C15, 0x51B54A32D192ED03, 0x3F58476D1CE4E5B9)  # odd, bits spread evenly


def decode(outputs: Tensor, lengths: Tensor) -> Texts:
    """Return the texts of outputs [N, T, K]: the best symbol of each frame, decoded as CTC does.

    Repeats merge, then blanks are removed: Graves et al. 2006, equation 4 (best path decoding).
    """
    best = outputs.argmax(-1)  # [N, T]
    before = pad(best, (1, 0), value=-1)[:, :-1]
    kept = within(best, lengths) & (best != BLANK) & (best != before)
    # a stable sort of kept before dropped moves the symbols together and keeps their order
    order = (~kept).byte().argsort(dim=1, stable=True)
    found = kept.sum(1)
    symbols = best.gather(1, order)
    return symbols * within(symbols, found), found


def edit_distances(first: Tensor, lengths: Tensor, second: Tensor, others: Tensor) -> Tensor:
    """Return the least insertions, deletions and changes [N] that turn one text into the other.

    The table of Wagner and Fischer, row by row over the first text: give the shorter one first. A
    cell's left neighbor, d[j] = min_k<=j (c[k] + j - k), is a running minimum along the row.
    """
    steps = torch.arange(second.shape[1] + 1, device=second.device)
    row = steps.expand(len(first), -1)
    distances = row.gather(1, others.unsqueeze(1))
    for i in range(1, first.shape[1] + 1):
        changed = row[:, :-1] + (first[:, i - 1 : i] != second)
        removed = row[:, 1:] + 1
        c = pad(torch.minimum(changed, removed), (1, 0), value=i)
        row = (c - steps).cummin(1).values + steps
        ended = (lengths == i).unsqueeze(1)
        distances = torch.where(ended, row.gather(1, others.unsqueeze(1)), distances)
    return distances.squeeze(1)


def words_of(symbols: Tensor, lengths: Tensor, space: int | None) -> Texts:
    """Return texts of words: one number for each, equal for equal words.

    The number is a 64-bit hash of the word's symbols and their positions. Two words of a text share
    one by chance in about 1 of 10^19 cases.
    """
    letters = within(symbols, lengths)
    if space is not None:
        letters = letters & (symbols != space)
    starts = letters & ~pad(letters, (1, 0), value=False)[:, :-1]
    steps = torch.arange(symbols.shape[1], device=symbols.device).expand_as(symbols)
    position = steps - (steps * starts).cummax(1).values
    mixed = position * MIXERS[0] + symbols * MIXERS[1]  # integers wrap around
    mixed = (mixed ^ (mixed >> 29)) * MIXERS[2]
    mixed = (mixed ^ (mixed >> 32)) * letters
    number = (starts.cumsum(1) - 1).clamp(min=0)
    return torch.zeros_like(mixed).scatter_add_(1, number, mixed), starts.sum(1)


def within(symbols: Tensor, lengths: Tensor) -> Tensor:
    """Return which positions [N, T] lie before the end of their text."""
    return torch.arange(symbols.shape[1], device=symbols.device) < lengths.unsqueeze(1)
