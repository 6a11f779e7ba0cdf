"""Training, validation and test samples, whole, as tensors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import train_test_split
from torch import Tensor

from bptrain.config import StrictConfig


class InMemoryConfig(StrictConfig):
    """What every data set that is held in memory reads from the config."""

    batch_size: int = Field(default=64, ge=1, le=1_048_576, description="samples of one step")
    validation_fraction: float = Field(
        default=0.1, ge=0, le=0.5, description="share of the training samples held out each epoch"
    )


@dataclass(frozen=True)
class Split:
    """Samples of one purpose."""

    inputs: Tensor  # [N, ...], float32 once standardized
    targets: Tensor  # [N], int64 class indices

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> "Split":
        """Return the split on `device`."""
        return Split(self.inputs.to(device), self.targets.to(device))

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
        return self.inputs.nbytes + self.targets.nbytes


@dataclass(frozen=True)
class Splits:
    """A data set, ready for training."""

    train: Split
    validation: Split | None
    test: Split
    classes: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def bytes(self) -> int:
        """Memory that all tensors take."""
        return sum(split.bytes for split in (self.train, self.validation, self.test) if split)

    def to(self, device: torch.device) -> "Splits":
        """Return the data set on `device`."""
        validation = self.validation.to(device) if self.validation else None
        return replace(
            self, train=self.train.to(device), validation=validation, test=self.test.to(device)
        )


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split | None]:
    """Return `split` in two, the second with `fraction` of each class; None for no samples."""
    classes, counts = np.unique(split.targets.numpy(), return_counts=True)
    held_out = round(len(split) * fraction)
    if held_out == 0:
        return split, None
    # A class of one sample cannot stand on both sides, nor can fewer samples than classes.
    possible = counts.min() >= 2 and held_out >= len(classes)
    first, second = train_test_split(
        np.arange(len(split)),
        test_size=held_out,
        random_state=seed % 2**32,
        stratify=split.targets.numpy() if possible else None,
    )
    parts = [torch.from_numpy(np.sort(rows)) for rows in (first, second)]
    train, rest = (Split(split.inputs[rows], split.targets[rows]) for rows in parts)
    return train, rest


def standardize(splits: Splits) -> Splits:
    """Return the splits as float32 with the training split's mean 0 and deviation 1.

    One mean and deviation for all pixels; validation and test samples are scaled by the training
    split's constants, as a model in use never sees the statistics of its future inputs.
    """
    # numpy sums pairwise in float64 without a float64 copy of the samples
    pixels = splits.train.inputs.numpy()
    mean = float(pixels.mean(dtype=np.float64))
    deviation = float(pixels.std(dtype=np.float64)) or 1.0  # constant inputs stay constant

    def scale(split: Split) -> Split:
        inputs = split.inputs.to(torch.float32, copy=True).sub_(mean).div_(deviation)
        return Split(inputs, split.targets)

    validation = scale(splits.validation) if splits.validation else None
    return replace(
        splits, train=scale(splits.train), validation=validation, test=scale(splits.test)
    )
