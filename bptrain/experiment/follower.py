"""A process of a run that writes nothing: rank 0 writes for all of them.

It takes the same steps as rank 0, evaluates its rows of the validation samples, and comes to the
same decisions: what they depend on are sums over all ranks.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bptrain.errors import NonFiniteError
from bptrain.experiment.build import Experiment, build
from bptrain.experiment.evaluation import HINT
from bptrain.experiment.non_finite import Failure, refuse_state
from bptrain.experiment.plan import Plan
from bptrain.experiment.session import Session
from bptrain.experiment.shared_state import from_first
from bptrain.experiment.starting_weights import starting_weights
from bptrain.experiment.step_guard import Earlier, StepGuard
from bptrain.monitor.console import TrainingConsole
from bptrain.monitor.run_log import RunLog
from bptrain.rundir.checkpoint import give_parts
from bptrain.rundir.training_state import MODEL, TrainingState
from bptrain.stateful import Stateful
from bptrain.train.memory import allocating
from bptrain.train.signals import StopRequest

NOWHERE = Path(os.devnull)
NOTHING: tuple[Path, TrainingState | None] = (NOWHERE, None)
OF_RANK_0 = ("log", "monitor")  # states of what the others do not have


def follow(plan: Plan, stop: StopRequest) -> Path:
    """Train the plan's experiment beside rank 0, from its state; return the folder it writes."""
    with allocating():
        if plan.ranks.shares_weights:  # rank 0 gives it its part of the weights
            session = Follower(build(plan), stop)
            run_dir, saved = from_first(session.experiment, NOWHERE, None)
        else:
            run_dir, saved = plan.ranks.from_first(NOTHING)
            change = starting_weights(plan) if saved is None else None
            session = Follower(build(plan, change), stop)
        with stop.noted(), session.ranks.exchanging():
            try:
                session.start(saved)
                session.run()
            except NonFiniteError:  # of which rank 0 writes a report
                session.ranks.wait_for_first()
                raise
    return run_dir


class Follower(Session):
    """A session that computes what rank 0's does, and writes nothing."""

    def __init__(self, experiment: Experiment, stop: StopRequest) -> None:
        own = experiment.config
        if not experiment.ranks.shares_weights:  # norms of parts of weights need all ranks
            unwatched = own.monitor.model_copy(update={"level": "basic"})
            own = own.model_copy(update={"monitor": unwatched})
        console = TrainingConsole(Console(quiet=True), experiment.total_steps, 1)
        super().__init__(replace(experiment, config=own), NOWHERE, NoLog(console), stop)

    def _states(self) -> dict[str, Stateful]:
        # where weights are shared, all ranks observe the same steps
        lacks = ("log",) if self.ranks.shares_weights else OF_RANK_0
        states = super()._states()
        return {name: each for name, each in states.items() if name not in lacks}

    def _guard(self) -> StepGuard:
        return SilentGuard(self.experiment, NOWHERE, self.log, self.window)

    def _write(self, values: dict[str, float], series: dict[str, list[float]]) -> None:
        """Write nothing."""

    def _store(self, values: dict[str, float]) -> None:
        """Store nothing; give rank 0 this rank's part of what it stores."""
        if self.ranks.shares_weights:
            state = self.state(values)
            refuse_state(self.experiment, state)
            give_parts(state, self.ranks.whole)
        elif self.experiment.carried is not None:
            self.experiment.carried.state()

    def _recall(self) -> None:
        """Give no verdicts."""

    def prune(self, written: Path | None = None) -> None:
        """Remove nothing."""

    def restore(self, saved: TrainingState) -> None:
        """Continue from a state, whose counts since the last log line are those of all ranks."""
        super().restore(saved)
        self.window.forget_counts()


class SilentGuard(StepGuard):
    """Does what rank 0's guard does, which saves a step and says what was found."""

    def _newest(self) -> Earlier:
        """Return the states of the newest valid checkpoint, which rank 0 reads."""
        return self.experiment.ranks.from_first(Earlier("", {}))

    def explained(self, failure: Failure, given_up: str = "") -> NonFiniteError:
        """Return the error; give rank 0 this rank's part of the weights, which it stores."""
        experiment = self.experiment
        start = next((s for s in self.starts if s.position.step == failure.step - 1), None)
        if start is not None:
            self.of_all(start)
            give_parts(
                TrainingState(failure.step, {MODEL: experiment.model.state_dict()}),
                experiment.ranks.whole,
            )
        return NonFiniteError(failure.what + given_up, failure.why, HINT)


class NoLog(RunLog):
    """A log that is written nowhere."""

    def __init__(self, console: TrainingConsole) -> None:
        super().__init__(NOWHERE, "", {}, (), console)
        self.has_graph = True

    def begin(self) -> None:
        """Open nothing."""

    def state(self) -> dict[str, Any]:
        """Return nothing that is to be restored."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue nothing."""
