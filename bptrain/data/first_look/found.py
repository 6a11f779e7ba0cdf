"""What a look at data found: the keys of a config's data section, each with its evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bptrain.problem import Problem

MOST_BATCH = 64
FEW = 200  # files, of which a larger part is held out
HELD_OUT = 0.2
BATCHES = 10  # in an epoch at least, as far as samples allow: fewer are few updates


@dataclass(frozen=True)
class Found:
    """What a look at data found.

    data        keys of the data section that are not left at their defaults, `kind` among them
    reasons     the comment above each of them: what was seen
    seen        lines at the head of the config: what there is, what was guessed and left out
    problem     what the data will ask of a model, its sizes as far as they are known
    samples     that were counted; there may be more
    imbalance   evidence that some classes are rare, "" where none is
    """

    data: Mapping[str, Any]
    reasons: Mapping[str, str]
    seen: Sequence[str]
    problem: Problem
    samples: int
    imbalance: str = field(default="", kw_only=True)


def batch_size_of(samples: int) -> int:
    """Return a batch size, a power of two, that gives an epoch of some batches."""
    size = MOST_BATCH
    while size > 4 and samples < BATCHES * size:
        size //= 2
    return size


def imbalance_of(counts: Mapping[str, int]) -> str:
    """Return the evidence that a class has less than half of an equal share; "" if none has."""
    rarest, most = min(counts, key=lambda each: counts[each]), max(counts.values())
    share = counts[rarest] / sum(counts.values())
    if share >= 0.5 / len(counts):
        return ""
    return f"{counts[rarest]:,} samples of the rarest class, {most:,} of the most frequent one"


def spread_evenly(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many of some items, from the whole of their order."""
    step = max(1, -(-len(items) // most))
    return list(items[::step])
