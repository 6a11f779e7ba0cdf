"""Where a run stands, as a state of its own."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from bptrain.errors import DataError
from bptrain.stateful import PlainState, Tree
from bptrain.train.loop import BEGINNING, Position


class SavedProgress(PlainState):
    """What a checkpoint holds of it."""

    step: int = Field(ge=0)
    epoch: int = Field(ge=0)
    batch: int = Field(ge=0)
    is_settled: bool
    samples: int


@dataclass
class Progress:
    """Where a run stands.

    samples     of the training split
    batches     of an epoch
    group       batches that make a step
    position    after the last step
    is_settled  whether what was due after it is done: its log line, evaluation, checkpoint
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
        """Continue from a `state`; raises DataError for one of other data, ValueError for none."""
        saved = SavedProgress.read(state)
        if saved.samples != self.samples:
            raise DataError(
                f"there are {self.samples:,} training samples now, and were {saved.samples:,} when "
                "the run began",
                "a run cannot be resumed with other data",
            )
        position = Position(saved.step, saved.epoch, saved.batch)
        # of the batches that are trained with: a text that is only read is cut otherwise
        steps = saved.epoch * -(-self.batches // self.group) + -(-saved.batch // self.group)
        if saved.batch > self.batches or saved.step != steps:
            raise ValueError(f"there is no step {saved.step} at batch {saved.batch} of its epoch")
        self.position, self.is_settled = position, saved.is_settled
