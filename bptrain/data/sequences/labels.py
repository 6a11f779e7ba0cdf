"""Forms in which files hold classes: one-hot rows, a column, texts, numbers that begin at 1.

All become indices from 0. Labels that are not 0, 1, ... stay the names of the classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptrain.data.splits import IGNORED
from bptrain.errors import DataError, shorten

Array = NDArray[Any]
Label = int | str

SIGNS = [-1, 1]  # the two classes of support vector machines


def classes_of_rows(targets: Array, count: int, is_tagging: bool, task: str | None) -> Array | None:
    """Return a class for each of `count` rows [N] where targets are classes in another form.

    One-hot rows [N, C] of any type; integers [N, 1]; whole floats [N], where the task says so.
    None where they are no classes. Integers of the shape that tagging has are tags.
    """
    if len(targets) != count or task not in (None, "classification") or targets.dtype.kind == "U":
        return None
    integer = targets.dtype.kind in "iub"
    if targets.ndim == 1 and task and not integer and (targets == np.floor(targets)).all():
        return targets.astype(np.int64)
    if targets.ndim != 2 or is_tagging:
        return None
    if targets.shape[1] == 1 and integer:
        return targets[:, 0]
    return targets.argmax(1) if is_one_hot(targets) else None


def is_one_hot(targets: Array) -> bool:
    """Tell whether each row is 0 but for a single 1, and each of several columns has one."""
    if targets.ndim != 2 or targets.shape[1] < 2:
        return False
    ones = targets == 1
    return bool((ones | (targets == 0)).all() and (ones.sum(1) == 1).all())


def labels_of(targets: Array) -> tuple[Label, ...]:
    """Return the labels of classes that are texts, begin at 1 or later, or are -1 and 1.

    Empty for numbers that are no classes, and for classes that are 0, 1, ...
    """
    if targets.dtype.kind == "U":
        return tuple(map(str, np.unique(targets)))
    if targets.dtype.kind not in "iub":
        return ()
    found = np.unique(targets[targets != IGNORED])
    named = found.tolist() == SIGNS or (len(found) > 0 and int(found[0]) > 0)
    return tuple(map(int, found)) if named else ()


def indices(path: Path, targets: Array, labels: Sequence[Label]) -> Array:
    """Return the index of each target among the labels; raise DataError for an unknown one.

    IGNORED tags stay.
    """
    if not labels:
        return targets
    known = np.array(labels)
    places = np.searchsorted(known, targets).clip(max=len(known) - 1)
    ignored = targets == IGNORED if targets.dtype.kind != "U" else np.zeros(targets.shape, bool)
    unknown = np.argwhere((known[places] != targets) & ~ignored)
    if len(unknown):
        label = targets[tuple(unknown[0])]
        raise DataError(
            f"{path}: targets[{', '.join(map(str, unknown[0]))}] is {shorten(str(label), 40)!r}",
            f"the training file's {len(known):,} classes are "
            f"{shorten(', '.join(map(str, labels)), 80)}",
        )
    return np.where(ignored, IGNORED, places).astype(np.int64)
