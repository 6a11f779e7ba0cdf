"""How far a run has come: from the loss of a constant prediction toward 0."""

from typing import NamedTuple

from bptrain import tags
from bptrain.monitor.verdicts.history import RECENT, History

LEARNS = 0.85  # of the loss of a constant prediction: a model that is below it has learned
AT_CHANCE = 0.97  # noise of a batch aside, a model above it has not
ENOUGH = 4  # log lines before anything is said on whether a model learns


class Progress(NamedTuple):
    """The training loss of a run.

    first    at its first log line
    best     the lowest
    now      the median of the last few lines
    chance   of the best constant prediction; the first loss where that is unknown
    """

    first: float
    best: float
    now: float
    chance: float

    @property
    def share(self) -> float:
        """The loss as a fraction of the loss at chance."""
        return self.now / self.chance if self.chance > 0 else 0.0

    @property
    def learns(self) -> bool:
        """Whether the model predicts clearly better than a constant."""
        return self.share < LEARNS

    @property
    def is_at_chance(self) -> bool:
        """Whether the model predicts no better than a constant."""
        return self.share > AT_CHANCE


def progress_of(history: History) -> Progress | None:
    """Return how far a run has come, None before there is enough of it."""
    losses = history.values(tags.TRAIN_LOSS)
    now = history.recent(tags.TRAIN_LOSS)
    if len(losses) < max(ENOUGH, RECENT) or now is None:
        return None
    chance = history.first(tags.CHANCE_LOSS)
    return Progress(losses[0], min(losses), now, losses[0] if chance is None else chance)
