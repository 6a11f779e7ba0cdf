"""Plateau: the learning rate drops when the validation loss stops falling."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from bptrain.optim.schedules import WarmUpConfig
from bptrain.stateful import PlainState, Tree


class PlateauConfig(WarmUpConfig):
    """Multiply the learning rate by factor whenever the validation loss has stopped falling."""

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="factor by which each drop multiplies the learning rate",
    )
    patience: int = Field(
        default=10,
        ge=0,
        le=10**6,
        description="evaluations in a row without improvement that are allowed before a drop",
    )
    threshold: float = Field(
        default=1e-4,
        ge=0,
        lt=1,
        description="relative improvement that counts: a loss must be lower than the best one by "
        "more than this fraction of it",
    )
    minimum: float = Field(
        default=0.0, ge=0, le=1, description="lower bound of the learning rate, as a fraction of lr"
    )

    watches_validation: ClassVar[bool] = True

    def build(self, total_steps: int, steps_per_epoch: int) -> "Plateau":
        """Return the schedule; its `observe` must be called with each validation loss."""
        return Plateau(self, self.warm)


class PlateauState(PlainState):
    """Saved state of a schedule: see `Plateau`."""

    share: float = Field(ge=0, le=1)
    best: float | None
    bad: int = Field(ge=0)


@dataclass
class Plateau:
    """A schedule with state: its factor depends on the validation losses observed so far.

    share  factor on the learning rate after the drops so far
    best   lowest loss observed, None before the first
    bad    losses observed since that were no better
    """

    config: PlateauConfig
    warm: Callable[[int], float]
    share: float = 1.0
    best: float | None = None
    bad: int = 0

    def __call__(self, step: int) -> float:
        """Return the factor of the next step."""
        return self.warm(step) * self.share

    def observe(self, loss: float) -> None:
        """Record a validation loss; NaN is never better."""
        if self._is_better(loss):
            self.best, self.bad = loss, 0
            return
        self.bad += 1
        if self.bad > self.config.patience:
            self.share = max(self.config.minimum, self.share * self.config.factor)
            self.bad = 0

    def _is_better(self, loss: float) -> bool:
        if self.best is None:
            return loss < float("inf")
        # relative to |best|: a negative loss must fall below the best too
        return loss < self.best - self.config.threshold * abs(self.best)

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, as plain JSON."""
        return {"share": self.share, "best": self.best, "bad": self.bad}

    def restore(self, state: Tree) -> None:
        """Continue from what `state` returned; raises ValueError for an invalid state."""
        saved = PlateauState.read(state)
        self.share, self.best, self.bad = saved.share, saved.best, saved.bad
