"""Verdicts on a training loop of the user's own, which has no config whose keys could be changed.

`watch.json` in the folder of the log says what they depend on besides the log.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Self

from pydantic import Field

from bptrain.errors import CheckpointError
from bptrain.monitor.verdicts import History, Setup, Verdict, verdicts_on
from bptrain.monitor.verdicts.non_finite import not_finite
from bptrain.rundir.durable_files import replace_file, storing
from bptrain.rundir.manifest import read_regular
from bptrain.stateful import PlainState

RECORD = "watch.json"
LARGEST_RECORD = 2**20  # bytes
RATE = "optimizer.lr="
IN_TORCH = {  # changes of a config, and the same in a loop
    "train.clip_grad_norm=1.0": "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
    "schedule={kind: cosine}": "torch.optim.lr_scheduler.CosineAnnealingLR",
    "train.early_stopping={patience: 3}": "keep the weights of the lowest validation loss",
}


class Failure(PlainState):
    """The first step that was not finite."""

    step: int = Field(ge=1)
    what: str
    why: str


class Record(PlainState):
    """What is known of a loop besides its log.

    optimizer  the name of its class; "" where none of torch's kind was seen
    lr         its first learning rate
    """

    model: str
    optimizer: str = ""
    lr: float | None = None
    failure: Failure | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> Self | None:
        """Return the record in a folder, None if there is none; raises CheckpointError."""
        path = folder / RECORD
        if not path.exists():
            return None
        try:
            return cls.read(json.loads(read_regular(path, LARGEST_RECORD)))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not written by `watch`", str(error)) from error

    def write(self, folder: Path) -> None:
        """Write it in a folder, in place of an earlier one; raises StorageError."""
        text = json.dumps(self.model_dump(), indent=2) + "\n"
        with storing(folder / RECORD, "choose another log_dir"):
            replace_file(folder / RECORD, text.encode())

    @property
    def setup(self) -> Setup:
        """What verdicts know of the loop."""
        optimizer = {"kind": self.optimizer.lower(), "lr": self.lr} if self.optimizer else {}
        return Setup({"optimizer": optimizer})

    def verdicts(self, history: History) -> list[Verdict]:
        """Return the verdicts on the loop, from what it logged."""
        found = verdicts_on(history, self.setup)
        if self.failure is not None and not found:
            failure = self.failure
            found = [not_finite(failure.step, failure.what, failure.why, self.setup)]
        return [self.on_loop(each) for each in found]

    def on_loop(self, verdict: Verdict) -> "LoopVerdict":
        """Return a verdict whose advice is a rate for the optimizer, or in names of torch."""
        given = {each.name: getattr(verdict, each.name) for each in fields(verdict)}
        advice = [IN_TORCH[each] for each in verdict.advice if each in IN_TORCH]
        rates = [each.removeprefix(RATE) for each in verdict.advice if each.startswith(RATE)]
        if self.optimizer:
            advice = [f"lr={rate}" for rate in rates] + advice
        return LoopVerdict(**given | {"advice": tuple(advice)})


class LoopVerdict(Verdict):
    """A verdict whose advice is in words of torch's."""

    @property
    def proposal(self) -> str:
        """What to change."""
        return "; ".join(self.advice)
