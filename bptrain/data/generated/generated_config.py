"""Data sets drawn from a random generator: samples are a pure function of a seed.

Training, validation and test samples come from separate random streams. The test samples are the
same whatever the run's seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.batches import Batch, BatchSource, Divisible, Rows, generator_of
from bptrain.data.given_arrays import Array, as_inputs
from bptrain.data.splits import Dataset, InMemoryConfig, Samples
from bptrain.errors import UsageError
from bptrain.problem import Problem

Draw: TypeAlias = Callable[[int, torch.Generator], Samples]  # count -> samples on the CPU

TEST_SEED = 0
# numbers of the random streams; generator_of(seed, n) with a small n shuffles epoch n
TEST, VALIDATION, TRAINING = 2**40, 2**40 + 1, 2**40 + 2  # + the epoch, for training
LARGEST_BYTES = 2**33


class GeneratedConfig(InMemoryConfig):
    """The common part of generated data sets; a kind defines how samples are drawn."""

    input_kind: ClassVar[str] = "array"

    samples: int = Field(
        default=10_000,
        ge=2,
        le=10_000_000,
        description="number of training and validation samples together",
    )
    test_samples: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="number of test samples, which are the same whatever the seed",
    )
    fresh: bool = Field(
        default=False,
        description="draw new training samples for every epoch, so that the model never sees one "
        "twice",
    )

    def problem(self) -> Problem:
        """Return the task and the shapes."""
        raise NotImplementedError

    def draw(self, samples: int, generator: torch.Generator) -> Samples:
        """Return that many samples, a pure function of the generator's state."""
        raise NotImplementedError

    def build(self, seed: int) -> Dataset:
        """Return the data set; `seed` determines the training and validation samples."""
        self._refuse_if_huge()
        held_out = round(self.samples * self.validation_fraction)
        train = Fresh(self.draw, self.samples - held_out, seed, bytes_of(self.problem()))
        validation = None
        if held_out:
            validation = self.draw(held_out, generator_of(seed, VALIDATION))
        test = self.draw(self.test_samples, generator_of(TEST_SEED, TEST))
        return Dataset(self.problem(), train if self.fresh else train.of_epoch(0), validation, test)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Raise UsageError: there is no file to predict."""
        kind = getattr(self, "kind", "")
        raise UsageError(
            f"data.kind {kind} is drawn from a random generator, and reads no file",
            "",
            "bptrain evaluate, which uses the generated test samples",
        )

    def prepare_arrays(
        self, arrays: Sequence[Array], problem: Problem, prepared: Mapping[str, Any]
    ) -> Samples:
        """Return arrays as inputs, as they are: what is generated is not scaled."""
        return as_inputs(arrays, problem)

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Samples:
        """Raise UsageError: there is no file to evaluate."""
        return self.prepare([str(path)], prepared)

    def _refuse_if_huge(self) -> None:
        """Raise UsageError, before anything is drawn, for samples that memory cannot hold."""
        one = bytes_of(self.problem())
        needed = one * (self.samples + self.test_samples)
        if needed > LARGEST_BYTES:
            raise UsageError(
                f"data.samples {self.samples:,} of {one:,} bytes each are too many to hold",
                f"{needed / 1e9:,.1f} GB, at most {LARGEST_BYTES / 1e9:.1f}",
                "fewer data.samples, with data.fresh: true for new ones every epoch",
            )


def bytes_of(problem: Problem) -> int:
    """Return the memory of a sample: its inputs in float32, its targets in int64."""
    targets = problem.input_shape[0] if problem.task == "tagging" else 1
    return 4 * prod(problem.input_shape) + 8 * targets


@dataclass(frozen=True)
class Fresh:
    """A training split with new samples in every epoch, a pure function of (seed, epoch).

    An epoch is drawn on the CPU, so that every device gets the same samples, and moved as a whole.
    """

    draw: Draw
    samples: int
    seed: int
    sample_bytes: int
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable

    def __len__(self) -> int:
        """Return the number of samples in an epoch."""
        return self.samples

    @property
    def bytes(self) -> int:
        """Return the memory of an epoch."""
        return self.sample_bytes * self.samples

    @property
    def targets(self) -> Tensor:
        """Return the targets of the first epoch."""
        return self.of_epoch(0).targets

    def to(self, device: torch.device) -> "Fresh":
        """Return the split with its epochs on `device`."""
        return replace(self, device=device)

    def of_epoch(self, epoch: int) -> Samples:
        """Return the samples of an epoch."""
        generator = generator_of(self.seed, TRAINING + epoch)
        return self.draw(self.samples, generator).to(self.device)

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches; new samples need no shuffling."""
        one = self.draw(1, generator_of(self.seed, TRAINING))
        one.serve(batch_size, window=window)  # raises UsageError for a window without targets
        return FreshBatches(self, batch_size, window)


@dataclass(frozen=True)
class FreshBatches:
    """Draws the samples of each epoch and yields their batches."""

    split: Fresh
    batch_size: int
    window: int | None
    rows: Rows | None = None

    def divided(self, rows: Rows) -> "FreshBatches":
        """Return the same batches, of each some rows."""
        return replace(self, rows=rows)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on.

        The whole epoch is drawn: a random generator cannot start in the middle.
        """
        batches = self.split.of_epoch(epoch).serve(self.batch_size, window=self.window)
        if self.rows is not None:
            assert isinstance(batches, Divisible), "windows of truncated sequences are not divided"
            batches = batches.divided(self.rows)
        yield from batches.epoch(0, start)
