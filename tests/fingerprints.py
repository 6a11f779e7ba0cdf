"""Small pictures that differ where what is to be drawn differs, in a hundredth of the time."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np

DRAWN = ("classification.mistakes_plot", "accuracy.confusion_plot", "regression.scatter_plot")


def draw_fingerprints(replace: Callable[[str, Any], None]) -> None:
    """Have runs draw fingerprints; `replace` puts a function in the place of another, by name."""
    for name in DRAWN:
        replace(f"bptrain.tasks.{name}", fingerprint)


def fingerprint(shown: Any, *names: Any) -> np.ndarray:
    """Return a small picture [5, 2, 3] that differs where what is to be drawn differs."""
    arrays = [shown] if isinstance(shown, np.ndarray) else [each.pixels for each in shown]
    texts = (
        []
        if isinstance(shown, np.ndarray)
        else [f"{each.true} {each.predicted} {each.loss}" for each in shown]
    )
    digest = sha256(repr((texts, *map(list, names))).encode())
    for array in arrays:
        digest.update(array.tobytes())
    return np.frombuffer(digest.digest()[:30], np.uint8).reshape(5, 2, 3)
