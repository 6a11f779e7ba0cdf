"""Early stopping: end the run when the validation loss has stopped improving."""

from math import isfinite
from typing import Any

from pydantic import Field

from bptrain.config import StrictConfig
from bptrain.stateful import PlainState, Tree


class EarlyStoppingConfig(StrictConfig):
    """When to stop before the last epoch."""

    patience: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="evaluations in a row without an improved validation loss after which the "
        "run stops",
    )
    min_delta: float = Field(
        default=0.0, ge=0, description="smallest decrease of the loss that counts as an improvement"
    )

    def build(self) -> "EarlyStopping":
        """Return early stopping in its initial state."""
        return EarlyStopping(self)


class Waited(PlainState):
    """The saved state: the smallest loss, and the number of evaluations since."""

    best: float | None
    waited: int = Field(ge=0)


class EarlyStopping:
    """Early stopping; its state is the smallest loss and the number of evaluations since.

    A loss is an improvement if it is below the smallest one by more than `min_delta`. A loss that
    is not finite never is.
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
        """A sentence for the log that says why the run ends."""
        smaller = f" by more than {self.config.min_delta:g}" if self.config.min_delta else ""
        least = "none was finite" if self.best is None else f"the least was {self.best:.6g}"
        times = f"{self.waited} evaluation{'s' * (self.waited > 1)}"
        return f"no smaller validation loss{smaller} for {times}, {least}"

    def observe(self, loss: float) -> bool:
        """Record the validation loss of an evaluation; return whether to stop now."""
        bound = float("inf") if self.best is None else self.best - self.config.min_delta
        if isfinite(loss) and loss < bound:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.is_over

    def state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises ValueError if it is invalid."""
        saved = Waited.read(state)
        self.best, self.waited = saved.best, saved.waited
