"""A trial of a search: a combination of values, and what became of its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from statistics import fmean, stdev
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["finished", "pruned", "failed", "unfinished", "elsewhere"]


@dataclass(frozen=True)
class Trial:
    """A combination of values, and the results of the seeds that were trained with it.

    values   of the keys that are searched, as YAML, in their order
    results  the metric's best value of each seed
    why      how it failed, or where it runs
    """

    number: int
    values: Sequence[str]
    status: Status = "unfinished"
    results: Sequence[float] = ()
    exit_code: int = 0
    why: str = ""

    @property
    def mean(self) -> float:
        """The mean over the seeds, NaN before the first."""
        return fmean(self.results) if self.results else nan

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds, None for fewer than two."""
        return stdev(self.results) if len(self.results) > 1 else None


@dataclass(frozen=True)
class Setup:
    """What must be the same for a search to continue.

    space   what each key is searched over, as text
    config  with the first combination, as plain values
    """

    space: dict[str, str]
    search: str
    metric: str
    seeds: int
    config: dict[str, object] = field(default_factory=dict)


def best_of(trials: Sequence[Trial], larger_is_better: bool) -> Trial | None:
    """Return the finished trial with the best mean, the first of equal ones; None for none."""
    finished = [each for each in trials if each.status == "finished"]
    sign = -1 if larger_is_better else 1
    return min(finished, key=lambda each: sign * each.mean, default=None)


def best_first(trials: Sequence[Trial], larger_is_better: bool) -> list[Trial]:
    """Return the finished trials, best first, and then the others by number."""
    sign = -1 if larger_is_better else 1
    return sorted(
        trials, key=lambda t: (t.status != "finished", sign * t.mean * (t.status == "finished"))
    )
