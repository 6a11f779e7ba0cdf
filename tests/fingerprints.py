"""Small pictures that differ where what is to be drawn differs, in a hundredth of the time.

And short samples of text: a thousand symbols take longer than the training of a small network.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

SYMBOLS = 40  # of a sample
DRAWN = (
    *("tasks.classification.mistakes_plot", "tasks.accuracy.confusion_plot"),
    *("tasks.calibration.reliability_plot", "monitor.flow_pictures.flow_by_depth"),
    *("tasks.regression.scatter_plot", "tasks.regression.residual_plot"),
    *("monitor.flow_pictures.flow_over_steps", "monitor.flow_pictures.flow_by_time_step"),
    *("experiment.board_pictures.decision_boundary", "experiment.board_pictures.surface"),
)


def draw_fingerprints(replace: Callable[[str, Any], None]) -> None:
    """Have runs draw fingerprints and write short samples.

    replace  puts a function in the place of another, given by its name
    """
    from bptrain.tasks.text_sampling import write_sample  # here: it imports torch

    for name in DRAWN:
        replace(f"bptrain.{name}", fingerprint)
    replace("bptrain.experiment.training.write_sample", partial(write_sample, length=SYMBOLS))


def fingerprint(*shown: Any) -> np.ndarray:
    """Return a small picture [5, 2, 3] that differs where what is to be drawn differs."""
    digest = sha256(bytes_of(shown)).digest()
    return np.frombuffer(digest[:30], np.uint8).reshape(5, 2, 3)


def bytes_of(shown: Any) -> bytes:
    """Return what is to be drawn: arrays, texts, numbers, mistakes, and lists of them."""
    if isinstance(shown, np.ndarray):
        return shown.tobytes()
    if isinstance(shown, list | tuple):
        return b"".join(map(bytes_of, shown))
    if hasattr(shown, "pixels"):  # a mistake
        return bytes_of((shown.pixels, shown.true, shown.predicted, shown.loss))
    return f"{shown!r};".encode()
