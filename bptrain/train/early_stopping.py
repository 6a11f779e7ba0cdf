"""Early stopping: end the run when a validation metric has stopped improving."""

from math import isfinite
from typing import Any

from pydantic import Field

from bptrain import tags
from bptrain.config import StrictConfig
from bptrain.stateful import PlainState, Tree


class EarlyStoppingConfig(StrictConfig):
    """When to stop before the last epoch."""

    patience: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="evaluations in a row without an improved validation metric after which the "
        "run stops",
    )
    min_delta: float = Field(
        default=0.0, ge=0, description="smallest change of the metric that counts as an improvement"
    )
    metric: str = Field(
        default=tags.VAL_LOSS,
        pattern=r"^val/[a-z0-9_]+$",
        description="validation metric that is watched: val/loss, or another of the task, such as "
        "val/accuracy or val/macro_f1; whether larger or smaller is better follows from the metric",
    )

    def build(self, larger_is_better: bool = False) -> "EarlyStopping":
        """Return early stopping in its initial state."""
        return EarlyStopping(self, larger_is_better)


class Waited(PlainState):
    """The saved state: the metric, its best value, and the number of evaluations since."""

    metric: str
    best: float | None
    waited: int = Field(ge=0)


class EarlyStopping:
    """Early stopping; its state is the best value and the number of evaluations since.

    A value is an improvement if it is better than the best one by more than `min_delta`. A value
    that is not finite never is.
    """

    def __init__(self, config: EarlyStoppingConfig, larger_is_better: bool = False) -> None:
        self.config = config
        self.ranking = tags.Ranking(config.metric, larger_is_better)
        self.best: float | None = None
        self.waited = 0

    @property
    def is_over(self) -> bool:
        """Whether the run is to end."""
        return self.waited >= self.config.patience

    @property
    def reason(self) -> str:
        """A sentence for the log that says why the run ends."""
        larger = self.ranking.larger_is_better
        margin = f" by more than {self.config.min_delta:g}" if self.config.min_delta else ""
        best = "none was finite"
        if self.best is not None:
            best = f"the {'largest' if larger else 'least'} was {self.best:.6g}"
        times = f"{self.waited} evaluation{'s' * (self.waited > 1)}"
        is_loss = self.config.metric == tags.VAL_LOSS
        called = "validation loss" if is_loss else self.config.metric
        return f"no {'larger' if larger else 'smaller'} {called}{margin} for {times}, {best}"

    def observe(self, value: float) -> bool:
        """Record the metric's value in an evaluation; return whether to stop now."""
        margin = self.config.min_delta
        best = self.best
        if isfinite(value) and (best is None or self.ranking.is_better(value, best, margin)):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.is_over

    def state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {"metric": self.config.metric, "best": self.best, "waited": self.waited}

    def restore(self, state: Tree) -> None:
        """Continue from a `state`, or begin anew if it is of another metric.

        Raises ValueError if it is invalid.
        """
        saved = Waited.read(state)
        if saved.metric == self.config.metric:
            self.best, self.waited = saved.best, saved.waited
