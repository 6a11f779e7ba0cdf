"""Splits of images as bytes: held in memory, or decoded from their files by worker processes.

Both serve the same batches in the same order, bit by bit: the order is a function of (seed, epoch)
alone, and bytes become numbers on the training device, by the same two operations. A byte a pixel
is a quarter of what float32 would take in memory, in the workers' queues and on the way to a GPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bptrain.data.batches import Augment, Batch, Batches, BatchSource, permutation
from bptrain.data.images.decoding_workers import decoded
from bptrain.data.images.image_file import Form
from bptrain.errors import UsageError

LEVELS = 256  # of a byte


@dataclass(frozen=True)
class Scale:
    """What turns bytes [B, C, H, W] into the numbers a model sees: a constant for each channel."""

    mean: Tensor  # [C, 1, 1]
    deviation: Tensor  # [C, 1, 1]

    @classmethod
    def of(cls, mean: Sequence[float], deviation: Sequence[float]) -> "Scale":
        """Return the scale of these constants."""
        return cls(*(torch.tensor(each).view(-1, 1, 1) for each in (mean, deviation)))

    def to(self, device: torch.device) -> "Scale":
        """Return the scale on `device`."""
        return Scale(self.mean.to(device), self.deviation.to(device))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the pixels as float32, the training images' mean 0 and deviation 1."""
        return pixels.to(torch.float32).sub_(self.mean).div_(self.deviation)


def channel_counts(pixels: Tensor) -> Tensor:
    """Return how often each level occurs in each channel [C, 256] of bytes [N, C, H, W]."""
    channels = pixels.transpose(0, 1).flatten(1)
    return torch.stack([channel.bincount(minlength=LEVELS) for channel in channels])


def constants_of(counts: Tensor) -> dict[str, list[float]]:
    """Return each channel's mean and deviation from its levels' counts [C, 256].

    Whole numbers add up to the same in any order: however images were read, the constants agree.
    """
    levels = torch.arange(LEVELS, dtype=torch.float64)
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = shares @ levels
    deviation = (shares * (levels - mean.unsqueeze(1)).square()).sum(1).sqrt()
    deviation[deviation == 0] = 1.0  # constant images stay constant
    return {"mean": mean.tolist(), "deviation": deviation.tolist()}


@dataclass(frozen=True)
class ImagesInMemory:
    """A split held whole, a byte for each number."""

    pixels: Tensor  # [N, C, H, W]
    targets: Tensor  # [N]
    scale: Scale
    augment: Augment | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
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
        return ScaledBatches(self, batch_size, seed)


class ScaledBatches(Batches):
    """Batches of bytes, scaled before anything else is done with them."""

    def __init__(self, split: ImagesInMemory, batch_size: int, seed: int | None) -> None:
        super().__init__((split.pixels,), (split.targets,), batch_size, seed, augment=split.augment)
        self.scale = split.scale

    def cut(self, chosen: Tensor | slice, rows: Tensor | slice) -> Batch:
        """Return the batch of these rows."""
        (pixels,), targets, weight = super().cut(chosen, rows)
        return Batch((self.scale(pixels),), targets, weight)


class DecodedBatches:
    """Batches read from their files each epoch."""

    def __init__(self, split: "ImagesOnDisk", batch_size: int, seed: int | None) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start` on, the only ones that are decoded."""
        split, targets = self.split, self.split.targets
        device = targets.device
        order = torch.arange(len(split))
        if self.seed is not None:
            order = permutation(len(split), self.seed, epoch)
        rows, places = (each.split(self.batch_size)[start:] for each in (order, order.to(device)))
        paths = [[split.files[row] for row in each.tolist()] for each in rows]
        on_gpu = device.type == "cuda"
        images = decoded(
            paths, split.form, split.workers, timeout_s=split.worker_timeout_s, pinned=on_gpu
        )
        for pixels, chosen in zip(images, places, strict=True):
            # from pinned memory the host does not wait: it goes on to queue the step
            inputs = split.scale(pixels.to(device, non_blocking=on_gpu))
            batch = Batch((inputs,), (targets.index_select(0, chosen),), len(chosen))
            if split.augment is not None and self.seed is not None:
                batch = split.augment(batch, self.seed, epoch, chosen)
            yield batch


@dataclass(frozen=True)
class ImagesOnDisk:
    """A split larger than memory: only paths and classes are held."""

    files: tuple[str, ...]
    targets: Tensor  # [N]; its device is the one that batches go to
    scale: Scale
    form: Form
    workers: int
    worker_timeout_s: float
    augment: Augment | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.targets)

    @property
    def bytes(self) -> int:
        """Memory that is held between batches."""
        return self.targets.nbytes

    def to(self, device: torch.device) -> "ImagesOnDisk":
        """Return the split with its batches going to `device`."""
        return replace(self, targets=self.targets.to(device), scale=self.scale.to(device))

    def serve(
        self, batch_size: int, seed: int | None = None, window: int | None = None
    ) -> BatchSource:
        """Return the batches, shuffled anew each epoch if a seed is given."""
        _refuse_windows(window)
        return DecodedBatches(self, batch_size, seed)


def _refuse_windows(window: int | None) -> None:
    if window is not None:
        raise UsageError(
            "train.bptt needs a target at every time step",
            "each image is answered once",
            "leave train.bptt out",
        )
