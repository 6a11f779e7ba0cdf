"""Training, validation and test splits, and samples that are held in memory as tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bptrain.config import StrictConfig
from bptrain.data.batches import Augment, Batches, BatchSource
from bptrain.data.stratified import Rows, held_out_rows
from bptrain.errors import DataError, UsageError
from bptrain.problem import Problem

LARGEST_ROUNDING = 1e-2  # of targets to float32, as a part of their standard deviation
IGNORED = -100  # the class of a time step that losses and metrics leave out


BatchSize: TypeAlias = Annotated[int, Field(ge=1, le=1_048_576)] | Literal["auto"]


class InMemoryConfig(StrictConfig):
    """Config fields of every data set that is held in memory."""

    batch_size: BatchSize = Field(
        default=64,
        description="samples per batch; the last batch of an epoch may be smaller, see drop_last. "
        "auto takes the largest power of two that fits in memory, as measured at the start: on a "
        "GPU it is often the fastest, but it learns as well only with a larger learning rate and "
        "enough epochs",
    )
    drop_last: bool = Field(
        default=False,
        description="whether the training samples that do not fill a batch at the end of an epoch "
        "are left out of it, so that all batches are of one size; the next epoch, in another "
        "order, leaves out others. Set it where a small last batch disturbs batch normalization, "
        "or for compile. Validation and test samples are never left out",
    )
    validation_fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="fraction of the training samples held out for validation, drawn by the seed "
        "and by class; 0 for no validation",
    )

    sampling: Literal["shuffled", "balanced"] = Field(
        default="shuffled",
        description="which training samples an epoch has. shuffled: each of them once, in another "
        "order in every epoch. balanced: as many in all, but each class equally often, for "
        "classification where some are rare: samples of rare classes are repeated, and of frequent "
        "ones each epoch has others. The model then overestimates how probable rare classes are",
    )


class Split(Protocol):
    """The samples of one purpose: training, validation or test."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    @property
    def bytes(self) -> int:
        """Return the memory that the split takes."""
        ...

    @property
    def targets(self) -> Tensor:
        """Return the targets of all samples [N, ...]; of samples drawn anew those of one epoch."""
        ...

    def to(self, device: torch.device) -> "Split":
        """Return the split with its tensors on `device`."""
        ...

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given.

        window  time steps per batch, for truncated backpropagation through time; raises
                UsageError if the split has no target at every time step
        """
        ...


@dataclass(frozen=True)
class Samples:
    """A split held in memory as tensors [N, ...].

    lengths         valid steps of each sequence [N] where these vary: the rest is padding
    target_lengths  valid symbols of each target [N], where targets are texts
    augment         changes training batches as they are served, differently in every epoch
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
        """Return the split with a function applied to each of its tensors."""
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
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
        """Return the memory that the tensors take."""
        return self.inputs.nbytes + self.targets.nbytes

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given."""
        if window is not None:
            raise UsageError(
                "train.bptt needs a target at every time step",
                "each sample of this data set has one target",
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
        """Return the number of targets of each sample [N], if it has one at each time step."""
        each_step = self.targets.dim() == 2 and not self.targets.is_floating_point()
        if not each_step or self.target_lengths is not None:
            return None
        return (self.targets != IGNORED).sum(1).cpu()


@dataclass(frozen=True)
class Dataset:
    """A data set, ready for training.

    prepared  what was computed from the training split (statistics, class names, vocabulary), as
              plain values: inputs for later predictions are prepared with the same ones
    notes     what was guessed or left out when the data was read, a line each
    contents  what each split holds, by its name: see `contents.py`. Empty for generated samples,
              which are a function of the config
    """

    problem: Problem
    train: Split
    validation: Split | None
    test: Split | None
    prepared: Mapping[str, Any] = field(default_factory=dict)
    contents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def bytes(self) -> int:
        """Return the memory that all splits take."""
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
    """The samples of each split, before they are scaled."""

    train: Samples
    validation: Samples | None
    test: Samples | None

    def map(self, change: Callable[[Samples], Samples]) -> "Parts":
        """Return the parts with a function applied to each."""
        validation, test = (
            None if part is None else change(part) for part in (self.validation, self.test)
        )
        return Parts(change(self.train), validation, test)


def refuse_rounded_targets(targets: Tensor, source: str, hint: str) -> None:
    """Raise DataError if float32 would round regression targets [N, D] by a part of their spread.

    source, hint  what the message begins and ends with
    """
    rounded = (targets.float().double() - targets).abs().amax(0)  # [D]
    spread = targets.double().std(0, correction=0)
    lost = rounded > LARGEST_ROUNDING * spread
    if bool((lost & (spread > 0)).any()):
        worst = int((rounded / spread).argmax())
        raise DataError(
            f"{source}: its numbers are too far from 0 for what they differ by",
            f"float32 rounds them by up to {float(rounded[worst]):.3g}, "
            f"and their standard deviation is {float(spread[worst]):.3g}",
            hint,
        )


def hold_out(
    samples: Samples, fraction: float, seed: int, are_classes: bool = True
) -> tuple[Samples, Samples | None]:
    """Return `samples` in two parts, the second with `fraction` of each class, or None if empty.

    The only sample of a class stays in the first part, and the others are drawn as without it.
    Targets that are not classes are drawn without regard to their values.

    are_classes  whether integer targets [N] are classes; texts, for example, may be all different
    """
    held_out = round(len(samples) * fraction)
    if held_out == 0:
        return samples, None
    drawn = _shared_classes(samples.targets) if are_classes else None
    if drawn is None or len(drawn) <= held_out:
        drawn = np.arange(len(samples))
    targets = samples.targets[torch.from_numpy(drawn)]
    classes = targets.numpy() if _can_stratify(targets, held_out) else None
    second = drawn[held_out_rows(len(drawn), held_out, seed, classes)]
    first = np.setdiff1d(np.arange(len(samples)), second, assume_unique=True)
    return samples.rows(torch.from_numpy(first)), samples.rows(torch.from_numpy(second))


def _shared_classes(targets: Tensor) -> Rows | None:
    """Return the rows whose class has other samples too; None if the targets are not classes."""
    if targets.dim() != 1 or targets.is_floating_point():
        return None
    _, numbers, counts = targets.unique(return_inverse=True, return_counts=True)
    rows: Rows = (counts[numbers] > 1).nonzero().view(-1).numpy()
    return rows


def _can_stratify(targets: Tensor, held_out: int) -> bool:
    """Tell whether both parts can have at least one sample of each class."""
    if targets.dim() != 1 or targets.is_floating_point():
        return False
    counts = targets.unique(return_counts=True)[1]
    return int(counts.min()) >= 2 and len(counts) <= held_out <= len(targets) - len(counts)


def standardize(parts: Parts, by_channel: bool = False) -> tuple[Parts, dict[str, Any]]:
    """Return the parts as float32, scaled to mean 0 and std 1, and the mean and std.

    One mean and standard deviation for all numbers, or lists with one for each channel of images
    [N, C, H, W]. All parts are scaled by the training samples' statistics, as a model in use does
    not know the statistics of its future inputs.
    """
    # numpy sums pairwise in float64 without a float64 copy of the samples
    numbers = parts.train.inputs.numpy()
    groups = list(np.moveaxis(numbers, 1, 0)) if by_channel else [numbers]
    means = [float(group.mean(dtype=np.float64)) for group in groups]
    # constant inputs stay constant
    stds = [float(group.std(dtype=np.float64)) or 1.0 for group in groups]
    statistics: dict[str, Any] = {"mean": means[0], "std": stds[0]}
    if by_channel:
        statistics = {"mean": means, "std": stds}
    return parts.map(lambda samples: rescale(samples, **statistics)), statistics


def rescale(
    samples: Samples, mean: float | Sequence[float], std: float | Sequence[float]
) -> Samples:
    """Return the inputs as float32, (x - mean) / std; lists hold a value for each channel."""
    inputs = samples.inputs.to(torch.float32, copy=True)
    return replace(samples, inputs=inputs.sub_(_broadcastable(mean)).div_(_broadcastable(std)))


def _broadcastable(values: float | Sequence[float]) -> float | Tensor:
    """Return a number, or one for each channel in a shape that broadcasts over [N, C, H, W]."""
    return values if isinstance(values, (int, float)) else torch.tensor(values).view(-1, 1, 1)
