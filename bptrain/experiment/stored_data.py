"""Is the data still what the run was trained on? What a run stored is compared with what is there.

A model, its metrics and its splits are of the data that the run began with. Other data would give
other classes, other statistics, and training samples in the test split.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

from bptrain.data import Dataset
from bptrain.data.contents import differences
from bptrain.errors import DataError, shorten
from bptrain.problem import Problem
from bptrain.rundir.prepared import read_stored

ROUNDING = 1e-5  # relative: a mean may be summed in another order on another machine
MOST_NAMES = 3  # that a message lists
HINT = "restore the data, or start a new run"


def refuse_other_data(run_dir: Path, dataset: Dataset, hint: str = HINT) -> None:
    """Raise DataError, naming what differs, unless the data is what the run began with."""
    stored = read_stored(run_dir)
    found = [
        *changed_names(stored.problem, dataset.problem),
        *differences(stored.contents, dataset.contents),
    ] or [
        *changed_values(stored.prepared, dataset.prepared),
        *changed_problem(stored.problem, dataset.problem),
    ]
    if found:
        raise DataError(
            f"{run_dir}: the data is not what it was when the run began: {found[0]}",
            "; ".join(found[1:]),
            hint,
        )


def changed_names(before: Problem, now: Problem) -> Iterator[str]:
    """Yield which classes, columns or symbols were added, are gone, or stand in another order."""
    kind = {"classes": "class", "numbers": "column"}.get(before.output_kind.targets, "symbol")
    kind = "symbol" if before.task == "language_model" else kind
    added, gone = without(now.names, before.names), without(before.names, now.names)
    parts = [f"{kind} {listed(added)} is new"] if added else []
    parts += [f"{kind} {listed(gone)} is gone"] if gone else []
    if not parts and before.names != now.names:
        parts = [f"each {kind} is the same, but their order is not"]
    if parts:
        yield ", ".join(parts)


def changed_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield which fitted values differ by more than rounding."""
    keys = [key for key in {**before, **now} if not is_close(before.get(key), now.get(key))]
    if keys:
        yield f"other {', '.join(keys)}"


def changed_problem(before: Problem, now: Problem) -> Iterator[str]:
    """Yield what else the data asks of a model."""
    pairs = zip(vars(before).items(), vars(now).values(), strict=True)
    for (key, old), new in pairs:
        if key != "names" and not is_close(old, new):
            yield f"{key.replace('_', ' ')} {old} is {new} now"


def is_close(one: Any, other: Any) -> bool:
    """Tell whether two plain values are equal, their floats up to rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_close(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_close, one, other))
    return bool(one == other)


def without(names: Sequence[str], others: Iterable[str]) -> list[str]:
    """Return the names that are not among the others."""
    excluded = set(others)
    return [name for name in names if name not in excluded]


def listed(names: Sequence[str]) -> str:
    """Return the first names, quoted, and how many more there are."""
    shown = ", ".join(repr(shorten(name, 40)) for name in names[:MOST_NAMES])
    return f"{shown} (and {len(names) - MOST_NAMES:,} more)" if len(names) > MOST_NAMES else shown
