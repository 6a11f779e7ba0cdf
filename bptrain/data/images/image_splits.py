"""Splits of images as bytes: in memory, or decoded from their files in every epoch.

Both serve bitwise equal batches in the same order: the order is a function of (seed, epoch) alone,
and bytes become float32 on the training device, by the same two operations. Bytes take a quarter
of the memory, and of the time to a GPU, that float32 would.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.data.batches import (
    Augment,
    Batch,
    Batches,
    BatchSource,
    Order,
    Rows,
    len_of,
    permutation,
    taken,
)
from bptrain.data.images.decoding_workers import decoded
from bptrain.data.images.image_file import ImageShape
from bptrain.errors import UsageError

LEVELS = 256  # of a byte


@dataclass(frozen=True)
class Standardization:
    """From bytes [B, C, H, W] to the model's inputs, by a mean and std for each channel."""

    mean: Tensor  # [C, 1, 1]
    std: Tensor  # [C, 1, 1]

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> "Standardization":
        """Return the standardization by these values of each channel."""
        return cls(*(torch.tensor(each).view(-1, 1, 1) for each in (mean, std)))

    def to(self, device: torch.device) -> "Standardization":
        """Return the standardization on `device`."""
        return Standardization(self.mean.to(device), self.std.to(device))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the pixels as float32: mean 0 and std 1 over the training images."""
        return pixels.to(torch.float32).sub_(self.mean).div_(self.std)


def channel_histograms(pixels: Tensor) -> Tensor:
    """Return how often each value occurs in each channel [C, 256] of bytes [N, C, H, W]."""
    channels = pixels.transpose(0, 1).flatten(1)
    return torch.stack([channel.bincount(minlength=LEVELS) for channel in channels])


def channel_statistics(counts: Tensor) -> dict[str, list[float]]:
    """Return each channel's mean and standard deviation from its histogram [C, 256].

    Integers add up to the same in any order, so that the result does not depend on the batches.
    """
    levels = torch.arange(LEVELS, dtype=torch.float64)
    frequencies = counts.double() / counts.sum(1, keepdim=True)
    mean = frequencies @ levels
    std = (frequencies * (levels - mean.unsqueeze(1)).square()).sum(1).sqrt()
    std[std == 0] = 1.0  # constant images stay constant
    return {"mean": mean.tolist(), "std": std.tolist()}


@dataclass(frozen=True)
class ImagesInMemory:
    """A split held in memory, one byte per pixel and channel."""

    pixels: Tensor  # [N, C, H, W]
    targets: Tensor  # [N]
    scale: Standardization
    augment: Augment | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """Return the memory that the tensors take."""
        return self.pixels.nbytes + self.targets.nbytes

    def to(self, device: torch.device) -> "ImagesInMemory":
        """Return the split on `device`."""
        pixels, targets = self.pixels.to(device), self.targets.to(device)
        return replace(self, pixels=pixels, targets=targets, scale=self.scale.to(device))

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given."""
        _refuse_windows(window)
        return StandardizedBatches(self, batch_size, seed)


class StandardizedBatches(Batches):
    """Batches of bytes, standardized on their device."""

    def __init__(self, split: ImagesInMemory, batch_size: int, seed: int | None) -> None:
        super().__init__((split.pixels,), (split.targets,), batch_size, seed, augment=split.augment)
        self.scale = split.scale

    def select(self, device_rows: Tensor | slice, rows: Tensor | slice) -> Batch:
        """Return the batch of these rows, given as indices on the device and on the CPU."""
        batch = super().select(device_rows, rows)
        return batch._replace(inputs=(self.scale(*batch.inputs),))


class DecodedBatches:
    """Batches decoded from their files in every epoch."""

    def __init__(
        self,
        split: "ImagesOnDisk",
        batch_size: int,
        seed: int | None,
        order: Order = permutation,
        rows: Rows | None = None,
    ) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.order, self.rows = order, rows

    def in_order(self, order: Order) -> "DecodedBatches":
        """Return the batches of the samples that an order names."""
        return DecodedBatches(self.split, self.batch_size, self.seed, order, self.rows)

    def divided(self, rows: Rows) -> "DecodedBatches":
        """Return the same batches, of each some rows: no others are read, unless they are mixed."""
        return DecodedBatches(self.split, self.batch_size, self.seed, self.order, rows)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on; earlier ones are not decoded."""
        split, targets = self.split, self.split.targets
        device = targets.device
        order = torch.arange(len(split))
        if self.seed is not None:
            order = self.order(len(split), self.seed, epoch)
        wholes = order.split(self.batch_size)[start:]
        rows = [self._read(each) for each in wholes]
        paths = [[split.files[row] for row in each.tolist()] for each in rows]
        on_gpu = device.type == "cuda"
        images = decoded(paths, split.shape, split.workers, timeout_s=split.worker_timeout_s)
        for pixels, chosen, whole in zip(images, on_device(rows, device), wholes, strict=True):
            # a copy from pinned memory does not wait for the steps that are queued on the GPU
            pixels = pixels.pin_memory() if on_gpu else pixels
            inputs = split.scale(pixels.to(device, non_blocking=on_gpu))
            batch = Batch((inputs,), (targets.index_select(0, chosen),), len(chosen))
            if split.augment is not None and self.seed is not None:
                batch = split.augment(batch, self.seed, epoch, chosen)
            yield self._own(batch, len(whole))

    @property
    def _mixes(self) -> bool:
        augment = self.split.augment
        return augment is not None and self.seed is not None and augment.mixes

    def _read(self, rows: Tensor) -> Tensor:
        """Return which samples of a batch are read: this process's, or all where they are mixed."""
        if self.rows is None or self._mixes:
            return rows
        return rows[taken(self.rows(len(rows)))]

    def _own(self, batch: Batch, whole: int) -> Batch:
        """Return this process's part of a batch of which so many samples there are."""
        if self.rows is None:
            return batch
        own = self.rows(whole)
        if self._mixes:
            return batch.part(own, len_of(own))
        return batch._replace(weight=len_of(own), whole=whole)


@dataclass(frozen=True)
class ImagesOnDisk:
    """A split larger than memory: only paths and classes are held in memory."""

    files: tuple[str, ...]
    targets: Tensor  # [N], on the device that batches are moved to
    scale: Standardization
    shape: ImageShape
    workers: int
    worker_timeout_s: float
    augment: Augment | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """Return the memory that is held between batches."""
        return self.targets.nbytes

    def to(self, device: torch.device) -> "ImagesOnDisk":
        """Return the split with its batches on `device`."""
        return replace(self, targets=self.targets.to(device), scale=self.scale.to(device))

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given."""
        _refuse_windows(window)
        return DecodedBatches(self, batch_size, seed)


def on_device(rows: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Return the indices on a device, in one copy."""
    return torch.cat([*rows]).to(device).split([len(each) for each in rows]) if rows else rows


def _refuse_windows(window: int | None) -> None:
    if window is not None:
        raise UsageError(
            "train.bptt needs a target at every time step",
            "each image has one target",
            "leave train.bptt out",
        )
