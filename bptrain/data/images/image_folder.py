"""Your own images: a folder for each class.

`folder_listing` says which files count, `image_file` what becomes of each, `image_splits` how they
are served.
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from bptrain.data.images.decoding_workers import decoded
from bptrain.data.images.folder_listing import Listed, Listing, list_images
from bptrain.data.images.image_file import Form, prepare_images
from bptrain.data.images.image_splits import (
    ImagesInMemory,
    ImagesOnDisk,
    Scale,
    channel_counts,
    constants_of,
)
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.splits import Dataset, Samples, hold_out
from bptrain.errors import DataError
from bptrain.problem import Problem

TEST_SEED = 0  # fixed: whatever the run's seed, it is tested on the same images
CHECKED = 64  # images that a worker hands over at a time in the pass before training


class ImageFolderConfig(ImagesConfig):
    """Images in a folder for each class, divided by folders train, val, test or by fractions.

    Before the first step every image is decoded once: what is broken is named, and the training
    images' constants are measured. If all of them fit into `memory_bytes` they are kept.
    """

    kind: Literal["image_folder"] = "image_folder"
    root: str = Field(
        min_length=1, description="folder of CLASS/*.png, or of train, val and test holding these"
    )
    size: int = Field(
        default=64, ge=1, le=2048, description="pixels a side: scaled to fit, the middle kept"
    )
    channels: Literal[1, 3] = Field(default=3, description="3 for colour, 1 for grey")
    test_fraction: float = Field(
        default=0.1, ge=0, le=0.5, description="share held out as test split without a train folder"
    )
    workers: int = Field(
        default=0, ge=0, le=256, description="processes that decode images; 0 decodes in the loop"
    )
    worker_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=86_400,
        description="seconds to wait for a worker's next batch before the run ends",
    )
    memory_bytes: int = Field(
        default=2**30,
        ge=0,
        le=2**50,
        description="decoded images are kept in memory up to this, and read each epoch beyond it",
    )

    @property
    def form(self) -> Form:
        """Return what every image is brought to."""
        return Form(self.size, self.size, self.channels)

    def build(self, seed: int) -> Dataset:
        """Return the data set, every file checked; samples are held out by class."""
        listing = list_images(Path(self.root))
        train, validation, test = self.divide(listing, seed)
        parts = [part for part in (train, validation, test) if part is not None]
        images = sum(len(part.files) for part in parts)
        held = images * prod(self.form.shape) <= self.memory_bytes
        read = [self.read(part, held) for part in parts]
        constants = constants_of(read[0][1])
        scale = Scale.of(**constants)
        splits = iter(
            [self.split(p, pixels, scale) for p, (pixels, _) in zip(parts, read, strict=True)]
        )
        names = listing.classes
        dataset = Dataset(
            Problem("classification", self.form.shape, len(names), names=names),
            next(splits),
            None if validation is None else next(splits),
            None if test is None else next(splits),
            {**constants, "classes": list(names)},
        )
        return self.augmented(dataset)

    def divide(self, listing: Listing, seed: int) -> tuple[Listed, Listed | None, Listed | None]:
        """Return the images of each purpose: the folder's own division, or else by fractions."""
        train, validation, test = listing.train, listing.validation, listing.test
        if not listing.divided:
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

    def read(self, listed: Listed, held: bool) -> tuple[Tensor | None, Tensor]:
        """Decode every image once: return them if they are to be held, and their levels' counts."""
        count, shape = len(listed.files), self.form.shape
        kept = torch.empty((count, *shape), dtype=torch.uint8) if held else None
        counts = torch.zeros(shape[0], 256, dtype=torch.int64)
        batches = [listed.files[start : start + CHECKED] for start in range(0, count, CHECKED)]
        start = 0
        images = decoded(
            batches, self.form, self.workers, timeout_s=self.worker_timeout_s, verify=True
        )
        for pixels in images:
            counts += channel_counts(pixels)
            if kept is not None:
                kept[start : start + len(pixels)] = pixels
            start += len(pixels)
        return kept, counts

    def split(
        self, listed: Listed, pixels: Tensor | None, scale: Scale
    ) -> ImagesInMemory | ImagesOnDisk:
        """Return the images as a split."""
        if pixels is not None:
            return ImagesInMemory(pixels, listed.targets, scale)
        return ImagesOnDisk(
            listed.files, listed.targets, scale, self.form, self.workers, self.worker_timeout_s
        )

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: scaled to fit, the middle kept, as in training."""
        return prepare_images(words, self.form, prepared)


def _held_out(listed: Listed, fraction: float, seed: int) -> tuple[Listed, Listed | None]:
    """Return the images in two, the second with `fraction` of each class; None for no images."""
    numbered = Samples(torch.arange(len(listed.targets)), listed.targets)
    first, second = hold_out(numbered, fraction, seed)
    rest = None if second is None else listed.rows(second.inputs)
    return listed.rows(first.inputs), rest
