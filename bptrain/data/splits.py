"""Training, validation and test samples, whole, as tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import train_test_split
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.data.batches import Augment, Batches, BatchSource
from bptrain.errors import UsageError
from bptrain.problem import Problem

IGNORED = -100  # the class of a step that does not count


class InMemoryConfig(StrictConfig):
    """What every data set that is held in memory reads from the config."""

    batch_size: int = Field(default=64, ge=1, le=1_048_576, description="samples of one step")
    validation_fraction: float = Field(
        default=0.1, ge=0, le=0.5, description="share of the training samples held out each epoch"
    )


class Split(Protocol):
    """The samples of one purpose: training, validation or test."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that they take, held whole."""
        ...

    def to(self, device: torch.device) -> "Split":
        """Return the split on `device`, as far as it is held whole."""
        ...

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given.

        window  steps of a sequence that are served at a time, for truncated backpropagation
                through time; raises UsageError if the split's targets do not allow it
        """
        ...


@dataclass(frozen=True)
class Samples:
    """A split held in memory as tensors [N, ...].

    lengths         valid steps of each sequence, where they differ: the rest is padding
    target_lengths  valid symbols of each target, where targets are texts
    augment         changes training batches as they are served, other ways every epoch
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    target_lengths: Tensor | None = None
    augment: Augment | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Samples":
        """Return the split with each of its tensors changed alike."""
        changed: dict[str, Any] = {
            name: change(held) for name, held in vars(self).items() if isinstance(held, Tensor)
        }
        return replace(self, **changed)

    def rows(self, rows: Tensor | slice) -> "Samples":
        """Return the samples of these indices."""
        return self.map(lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> "Samples":
        """Return the split on `device`."""
        return self.map(lambda tensor: tensor.to(device))

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
        return self.inputs.nbytes + self.targets.nbytes

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given."""
        if window is not None:
            raise UsageError(
                "train.bptt needs a target at every time step",
                "each sample of this data set is answered once, at its end",
                "leave train.bptt out",
            )
        inputs: tuple[Tensor, ...] = (self.inputs,)
        targets: tuple[Tensor, ...] = (self.targets,)
        if self.lengths is not None:
            inputs = (self.inputs, self.lengths)
        if self.target_lengths is not None:
            assert self.lengths is not None
            targets = (self.targets, self.lengths, self.target_lengths)
        return Batches(inputs, targets, batch_size, seed, self._predictions(), self.augment)

    def _predictions(self) -> Tensor | None:
        """Return the steps of each sample that are asked for [N], where it is asked at steps."""
        each_step = self.targets.dim() == 2 and not self.targets.is_floating_point()
        if not each_step or self.target_lengths is not None:
            return None
        return (self.targets != IGNORED).sum(1).cpu()


@dataclass(frozen=True)
class Dataset:
    """A data set, ready for training.

    prepared  what was fitted on the training split, as plain values: the same constants, classes
              and vocabulary prepare an input that is predicted later
    """

    problem: Problem
    train: Split
    validation: Split | None
    test: Split | None
    prepared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory that all splits take."""
        return sum(split.bytes for split in (self.train, self.validation, self.test) if split)

    def to(self, device: torch.device) -> "Dataset":
        """Return the data set on `device`."""
        return replace(
            self,
            train=self.train.to(device),
            validation=None if self.validation is None else self.validation.to(device),
            test=None if self.test is None else self.test.to(device),
        )


@dataclass(frozen=True)
class Parts:
    """The samples of a data set by purpose, before they are scaled."""

    train: Samples
    validation: Samples | None
    test: Samples | None

    def map(self, change: Callable[[Samples], Samples]) -> "Parts":
        """Return the parts changed alike."""
        validation, test = (
            None if part is None else change(part) for part in (self.validation, self.test)
        )
        return Parts(change(self.train), validation, test)


def hold_out(samples: Samples, fraction: float, seed: int) -> tuple[Samples, Samples | None]:
    """Return `samples` in two, the second with `fraction` of each class; None for no samples.

    Targets that are no classes are drawn without regard to their values.
    """
    held_out = round(len(samples) * fraction)
    if held_out == 0:
        return samples, None
    first, second = train_test_split(
        np.arange(len(samples)),
        test_size=held_out,
        random_state=seed % 2**32,
        stratify=samples.targets.numpy() if _can_stratify(samples.targets, held_out) else None,
    )
    parts = [samples.rows(torch.from_numpy(np.sort(rows))) for rows in (first, second)]
    return parts[0], parts[1]


def _can_stratify(targets: Tensor, held_out: int) -> bool:
    """Tell whether each class can stand on both sides, with a sample at least."""
    if targets.dim() != 1 or targets.is_floating_point():
        return False
    counts = targets.unique(return_counts=True)[1]
    return int(counts.min()) >= 2 and len(counts) <= held_out <= len(targets) - len(counts)


def standardize(parts: Parts, by_channel: bool = False) -> tuple[Parts, dict[str, Any]]:
    """Return the parts as float32 with the training samples' mean 0 and deviation 1, and the two.

    One mean and deviation for all numbers, or lists of one for each channel of images
    [N, C, H, W]. Validation and test samples are scaled by the training samples' constants, as a
    model in use never sees the statistics of its future inputs.
    """
    # numpy sums pairwise in float64 without a float64 copy of the samples
    numbers = parts.train.inputs.numpy()
    groups = list(np.moveaxis(numbers, 1, 0)) if by_channel else [numbers]
    means = [float(group.mean(dtype=np.float64)) for group in groups]
    # constant inputs stay constant
    deviations = [float(group.std(dtype=np.float64)) or 1.0 for group in groups]
    constants: dict[str, Any] = {"mean": means[0], "deviation": deviations[0]}
    if by_channel:
        constants = {"mean": means, "deviation": deviations}
    scaled = parts.map(lambda samples: rescale(samples, **constants))
    return scaled, constants


def rescale(
    samples: Samples, mean: float | Sequence[float], deviation: float | Sequence[float]
) -> Samples:
    """Return the samples as float32, less `mean` and over `deviation`; lists hold one a channel."""
    inputs = samples.inputs.to(torch.float32, copy=True)
    return replace(samples, inputs=inputs.sub_(_spread(mean)).div_(_spread(deviation)))


def _spread(constant: float | Sequence[float]) -> float | Tensor:
    """Return a constant that arithmetic spreads over images [N, C, H, W]."""
    return constant if isinstance(constant, (int, float)) else torch.tensor(constant).view(-1, 1, 1)
