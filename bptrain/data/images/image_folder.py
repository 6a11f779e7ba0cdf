"""Your own images: a folder for each class.

`folder_listing` finds the files, `image_file` decodes them, `image_splits` serves the batches.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.contents import SPLITS, checksum, content, tensor_bytes
from bptrain.data.data_file import DataPath
from bptrain.data.images.decoding_workers import decoded
from bptrain.data.images.folder_listing import ImageList, Listing, list_classes, list_images
from bptrain.data.images.image_file import ImageShape, prepare_images
from bptrain.data.images.image_splits import (
    ImagesInMemory,
    ImagesOnDisk,
    Standardization,
    channel_histograms,
    channel_statistics,
)
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.notes import ignored_files
from bptrain.data.splits import Dataset, Samples, Split, hold_out
from bptrain.errors import DataError
from bptrain.problem import Problem

TEST_SEED = 0  # fixed: the test split is the same images whatever the run's seed
SCAN_BATCH = 64  # images per batch in the pass before training


class ImageFolderConfig(ImagesConfig):
    """Your own images, in a folder for each class; split by folders train, val, test or at random.

    Before the first step every image is decoded once, to find broken files and to compute the mean
    and std of the training images. Images that all fit into `memory_bytes` stay in memory.
    """

    kind: Literal["image_folder"] = "image_folder"
    root: DataPath = Field(
        min_length=1,
        description="folder that holds CLASS/*.png (split at random), or train/CLASS/*.png and "
        "optionally val and test beside it",
    )
    size: int = Field(
        default=64,
        ge=1,
        le=2048,
        description="height and width of the model's input in pixels: the shorter side of an image "
        "is scaled to it, the longer one cropped to its middle",
    )
    channels: Literal[1, 3] = Field(
        default=3, description="3 converts every image to RGB, 1 to grayscale"
    )
    test_fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="fraction of the images held out as the test split, the same ones whatever the "
        "seed; ignored with a train folder",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="processes that decode images ahead of the training loop; 0 decodes in the "
        "training process. Matters for images that do not fit into memory_bytes: about one for "
        "each CPU core",
    )
    worker_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=86_400,
        description="seconds without a batch from the workers after which the run ends (exit 8)",
    )
    memory_bytes: int = Field(
        default=2**30,
        ge=0,
        le=2**50,
        description="images are kept in memory, a byte per pixel and channel, if all take at "
        "most this many bytes (default 1 GiB); otherwise they are decoded again in every epoch",
    )

    @property
    def shape(self) -> ImageShape:
        """Return the size of the model's inputs."""
        return ImageShape(self.size, self.size, self.channels)

    def build(self, seed: int) -> Dataset:
        """Return the data set, after decoding every file; `seed` selects the validation images."""
        listing = list_images(Path(self.root))
        train, validation, test = self.split_images(listing, seed)
        parts = [part for part in (train, validation, test) if part is not None]
        listed = (listing.train, listing.validation, listing.test)
        ignored = sum(part.ignored for part in listed if part is not None)
        in_memory = self.fits_in_memory(sum(len(part.files) for part in parts))
        read = [self.read(part, in_memory) for part in parts]
        statistics = channel_statistics(read[0][1])
        scale = Standardization.of(**statistics)
        splits = iter(
            [self.split(p, pixels, scale) for p, (pixels, _) in zip(parts, read, strict=True)]
        )
        names = listing.classes
        dataset = Dataset(
            Problem("classification", self.shape.chw, len(names), names=names),
            next(splits),
            None if validation is None else next(splits),
            None if test is None else next(splits),
            {**statistics, "classes": list(names)},
            {
                name: content(
                    len(part.files),
                    checksum(files_in(part)),
                    checksum([tensor_bytes(part.targets)]),
                )
                for name, part in zip(SPLITS, (train, validation, test), strict=True)
                if part is not None
            },
            ignored_files(ignored, "no image by its ending"),
        )
        return self.augmented(dataset)

    def labelled(self, path: Path, problem: Problem, prepared: Mapping[str, Any]) -> Split:
        """Return the images of another folder with a subfolder for each class."""
        _, images = list_classes(path, problem.names)
        pixels, _ = self.read(images, self.fits_in_memory(len(images.files)))
        scale = Standardization.of(prepared["mean"], prepared["std"])
        return self.split(images, pixels, scale)

    def fits_in_memory(self, images: int) -> bool:
        """Tell whether that many images are kept in memory."""
        return images * prod(self.shape.chw) <= self.memory_bytes

    def split_images(
        self, listing: Listing, seed: int
    ) -> tuple[ImageList, ImageList | None, ImageList | None]:
        """Return the images of each split: as the folder says, or else by fractions."""
        train, validation, test = listing.train, listing.validation, listing.test
        if not listing.is_split:
            train, test = _held_out(train, self.test_fraction, TEST_SEED)
        if validation is None:
            train, validation = _held_out(train, self.validation_fraction, seed)
        missing = set(range(len(listing.classes))) - set(train.targets.tolist())
        if missing:
            name = listing.classes[min(missing)]
            raise DataError(
                f"{self.root}: no training image of class {name!r} is left",
                "all of its images were held out",
                "more images of it, or smaller fractions",
            )
        return train, validation, test

    def read(self, images: ImageList, in_memory: bool) -> tuple[Tensor | None, Tensor]:
        """Decode every image once; return the pixels, if they stay in memory, and histograms."""
        count, shape = len(images.files), self.shape.chw
        kept = torch.empty((count, *shape), dtype=torch.uint8) if in_memory else None
        counts = torch.zeros(shape[0], 256, dtype=torch.int64)
        batches = [
            images.files[start : start + SCAN_BATCH] for start in range(0, count, SCAN_BATCH)
        ]
        start = 0
        decoded_batches = decoded(
            batches, self.shape, self.workers, timeout_s=self.worker_timeout_s, verify=True
        )
        for pixels in decoded_batches:
            counts += channel_histograms(pixels)
            if kept is not None:
                kept[start : start + len(pixels)] = pixels
            start += len(pixels)
        return kept, counts

    def split(
        self, images: ImageList, pixels: Tensor | None, scale: Standardization
    ) -> ImagesInMemory | ImagesOnDisk:
        """Return the images as a split."""
        if pixels is not None:
            return ImagesInMemory(pixels, images.targets, scale)
        return ImagesOnDisk(
            images.files, images.targets, scale, self.shape, self.workers, self.worker_timeout_s
        )

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: cropped and scaled as in training."""
        return prepare_images(words, self.shape, prepared)


def _held_out(images: ImageList, fraction: float, seed: int) -> tuple[ImageList, ImageList | None]:
    """Return the images in two parts, the second with `fraction` of each class; None if empty."""
    numbered = Samples(torch.arange(len(images.targets)), images.targets)
    first, second = hold_out(numbered, fraction, seed)
    rest = None if second is None else images.rows(second.inputs)
    return images.rows(first.inputs), rest


def files_in(images: ImageList) -> Iterator[bytes]:
    """Yield the SHA-256 of each image file."""
    for path in images.files:
        with Path(path).open("rb") as file:
            yield file_digest(file, "sha256").digest()
