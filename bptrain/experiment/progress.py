"""A run's progress, as a state that checkpoints save."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from bptrain.errors import DataError
from bptrain.stateful import PlainState, Tree
from bptrain.train.loop import BEGINNING, Position


class SavedProgress(PlainState):
    """The progress in a checkpoint."""

    step: int = Field(ge=0)
    epoch: int = Field(ge=0)
    batch: int = Field(ge=0)
    is_settled: bool
    samples: int


@dataclass
class Progress:
    """How far a run has come.

    samples     number of training samples
    batches     number of batches in an epoch
    group       number of batches in a step
    position    after the last step
    is_settled  whether the log line, evaluation and checkpoint due after that step are done
    """

    samples: int
    batches: int
    group: int
    position: Position = BEGINNING
    is_settled: bool = True

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {
            **self.position._asdict(),
            "is_settled": self.is_settled,
            "samples": self.samples,
        }

    def restore(self, state: Tree) -> None:
        """Continue from a `state`; raises DataError for other data, ValueError if it is invalid."""
        saved = SavedProgress.read(state)
        if saved.samples != self.samples:
            raise DataError(
                f"there are {self.samples:,} training samples now, and were {saved.samples:,} when "
                "the run began",
                "a run cannot be resumed with other data",
            )
        position = Position(saved.step, saved.epoch, saved.batch)
        # of training batches: a text is cut into other batches for evaluation
        steps = saved.epoch * -(-self.batches // self.group) + -(-saved.batch // self.group)
        if saved.batch > self.batches or saved.step != steps:
            raise ValueError(f"there is no step {saved.step} at batch {saved.batch} of its epoch")
        self.position, self.is_settled = position, saved.is_settled
