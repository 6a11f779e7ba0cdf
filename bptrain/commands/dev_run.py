"""`fit --fast-dev-run`: a few steps of everything, in a folder that is then removed."""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from torch import Tensor

from bptrain.data import BatchSource, Split
from bptrain.data.batches import FewBatches
from bptrain.errors import InterruptedRun
from bptrain.experiment.plan import Plan
from bptrain.experiment.training import run
from bptrain.train.signals import StopNow, StopRequest

FAST_STEPS = 3  # at the second some things break that the first one leaves behind, as a stale state


@dataclass(frozen=True)
class FirstBatches:
    """The first batches of a split."""

    split: Split
    batches: int

    def __len__(self) -> int:
        """Return the number of samples of the whole split."""
        return len(self.split)

    @property
    def bytes(self) -> int:
        """Memory that the split takes."""
        return self.split.bytes

    @property
    def targets(self) -> Tensor:
        """The targets of the whole split."""
        return self.split.targets

    def to(self, device: torch.device) -> "FirstBatches":
        """Return the split on `device`."""
        return replace(self, split=self.split.to(device))

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the first batches."""
        return FewBatches(self.split.serve(batch_size, seed, window), self.batches)


def fast_dev_run(plan: Plan, console: Console, stop: StopRequest) -> None:
    """Train a few steps, evaluate a batch, save and test, all in a folder that is then removed."""
    config, dataset = plan.config, plan.dataset
    accumulated = config.train.grad_accum_steps
    short = config.train.model_copy(update={"steps": FAST_STEPS})
    shortened = replace(
        dataset,
        train=FirstBatches(dataset.train, FAST_STEPS * accumulated),
        validation=dataset.validation and FirstBatches(dataset.validation, 1),
        test=dataset.test and FirstBatches(dataset.test, 1),
    )
    short_plan = replace(plan, config=config.model_copy(update={"train": short}), dataset=shortened)
    with TemporaryDirectory(prefix="bptrain-") as folder:
        try:
            run(short_plan, Path(folder) / "run", console, stop)
        except InterruptedRun as stopped:  # its checkpoint goes with the folder
            raise StopNow(stopped.signal_number) from stopped
    console.print(f"all of it works: {FAST_STEPS} steps, evaluation, checkpoint, test")
