"""What a run reached on its validation data, and whether that is clearly less than another run.

The criterion of sickness, fixed before any of the runs in controls.py and faults.py was trained.
"""

from math import inf
from pathlib import Path
from typing import NamedTuple, Self

from bptrain import tags
from bptrain.experiment.diagnosis import read_lines
from bptrain.monitor.verdicts import History
from bptrain.monitor.verdicts.outcome import VAL_F1
from bptrain.monitor.verdicts.progress import LEARNS

# of the loss at chance, or of the mean F1 over the classes: two or three times what evaluations of
# a hundred samples differ by (0.05 is the standard error of a share of one half among them)
CLEARLY = 0.1


class Reached(NamedTuple):
    """The end of a run, on its validation data.

    share  the loss as a fraction of that of the best constant prediction; infinite if not finite
    f1     the mean F1 over the classes, None where there are no classes
    """

    share: float
    f1: float | None

    @classmethod
    def by(cls, run: Path) -> Self:
        """Return what a run in a folder reached."""
        lines = read_lines(run)
        history = History(lines)
        losses, chance = history.values(tags.VAL_LOSS), history.first(tags.CHANCE_LOSS)
        finished = not (run / "error.txt").exists()
        if not losses or not chance or not finished:
            return cls(inf, None)
        f1 = history.values(VAL_F1)
        return cls(losses[-1] / chance, f1[-1] if f1 else None)

    @property
    def has_learned(self) -> bool:
        """Whether it predicts clearly better than a constant."""
        return self.share < LEARNS

    def is_less_than(self, control: "Reached") -> bool:
        """Tell whether a run reached clearly less than its control."""
        if self.share > control.share + CLEARLY:
            return True
        return self.f1 is not None and control.f1 is not None and self.f1 < control.f1 - CLEARLY
