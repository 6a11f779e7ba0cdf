"""Early stopping: a run ends once its validation loss has not become smaller for a while."""

from math import isfinite
from typing import Any

from pydantic import Field

from bptrain.config import StrictConfig
from bptrain.stateful import PlainState, Tree


class EarlyStoppingConfig(StrictConfig):
    """When a run stops before its last epoch."""

    patience: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="evaluations in a row without a smaller validation loss",
    )
    min_delta: float = Field(
        default=0.0, ge=0, description="decrease of the loss below which it counts as no smaller"
    )

    def build(self) -> "EarlyStopping":
        """Return the rule, before any evaluation."""
        return EarlyStopping(self)


class Waited(PlainState):
    """What early stopping remembers: the least loss, and the evaluations since."""

    best: float | None
    waited: int = Field(ge=0)


class EarlyStopping:
    """The rule and what it remembers: the least loss, and the evaluations waited since.

    A loss is smaller if it is below the least one by more than `min_delta`. One that is not
    finite is never smaller.
    """

    def __init__(self, config: EarlyStoppingConfig) -> None:
        self.config = config
        self.best: float | None = None
        self.waited = 0

    @property
    def is_over(self) -> bool:
        """Whether the run is to end."""
        return self.waited >= self.config.patience

    @property
    def reason(self) -> str:
        """Why it is, in a person's words."""
        smaller = f" by more than {self.config.min_delta:g}" if self.config.min_delta else ""
        least = "none was finite" if self.best is None else f"the least was {self.best:.6g}"
        times = f"{self.waited} evaluation{'s' * (self.waited > 1)}"
        return f"no smaller validation loss{smaller} for {times}, {least}"

    def observe(self, loss: float) -> bool:
        """Take in the validation loss of an evaluation; return whether to stop now."""
        bound = float("inf") if self.best is None else self.best - self.config.min_delta
        if isfinite(loss) and loss < bound:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.is_over

    def state(self) -> dict[str, Any]:
        """Return what the rule remembers, as plain values."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises ValueError for what is none."""
        saved = Waited.read(state)
        self.best, self.waited = saved.best, saved.waited
