"""Your own images: what folders of classes and tables of labels have in common.

`class_folders` or `labelled_images` finds the files, `image_scan` decodes each once, `image_splits`
serves the batches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import file_digest
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from bptrain.data import bad_files
from bptrain.data.class_folders import FileList, Listing
from bptrain.data.contents import SPLITS, Contents, checksum, content, tensor_bytes
from bptrain.data.images.decoding_workers import computed
from bptrain.data.images.image_file import BYTE_BITS, WIDE_BITS, ImageShape, prepare_images
from bptrain.data.images.image_scan import Scan, scan
from bptrain.data.images.image_splits import (
    ImagesInMemory,
    ImagesOnDisk,
    Standardization,
    channel_statistics,
)
from bptrain.data.images.images_config import ImagesConfig
from bptrain.data.splits import Dataset, Samples, Split, hold_out
from bptrain.errors import DataError
from bptrain.problem import Problem

TEST_SEED = 0  # fixed: the test split is the same images whatever the run's seed


class ImageFilesConfig(ImagesConfig):
    """Config fields of every data set of image files."""

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
    depth: Literal["auto"] | Annotated[int, Field(ge=BYTE_BITS, le=WIDE_BITS)] = Field(
        default="auto",
        description="bits that the pixels of 16-bit grayscale images use, such as 12 for a camera "
        "whose values go up to 4095; brighter pixels are white. auto takes as many as the "
        "brightest pixel of the training images needs",
    )
    on_bad_file: bad_files.OnBadFile = Field(
        default="error",
        description="what to do about images that are damaged or cannot be read. error lists them "
        "all at once and does not train. skip leaves them out, says how many, and stores which; a "
        "resumed run must find the same ones. `evaluate RUN DATA` takes no bad files",
    )
    test_fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="fraction of the images held out as the test split, the same ones whatever the "
        "seed; ignored where the data says which images are for training",
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
        depth = WIDE_BITS if self.depth == "auto" else self.depth
        return ImageShape(self.size, self.size, self.channels, depth)

    def shape_as(self, prepared: Mapping[str, Any]) -> ImageShape:
        """Return the size of the model's inputs, and the depth that was found in training."""
        return replace(self.shape, depth=prepared.get("depth", self.shape.depth))

    def dataset(self, listing: Listing, root: Path, source: str, seed: int) -> Dataset:
        """Return the data set of listed images, each decoded once; classes, or numbers as given.

        root    folder that messages name the files below
        source  what messages call all of them
        """
        found = zip(SPLITS, self.split_images(listing, source, seed), strict=True)
        listed = {name: part for name, part in found if part is not None}
        scans = self.scanned(listed, root)
        bad = [each for scan in scans.values() for each in scan.bad]
        if self.on_bad_file == "error":
            bad_files.refuse(source, bad)
        parts = {name: scan.images for name, scan in scans.items() if scan.images.files}
        refuse_missing_classes(parts.get("train"), listing, source)
        statistics = channel_statistics(scans["train"].counts)
        scale = Standardization.of(**statistics)
        splits = {name: self.split(scans[name], scale) for name in parts}
        prepared: dict[str, Any] = {**statistics}
        prepared |= {"classes": list(listing.classes)} if listing.classes else {}
        prepared |= {"depth": scans["train"].shape.depth} if self.finds_depth(scans) else {}
        prepared |= {"left_out_files": sorted(each.name for each in bad)} if bad else {}
        files = sum(len(part.files) for part in listed.values())
        return Dataset(
            Problem("classification", self.shape.chw, len(listing.classes), names=listing.classes),
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            prepared,
            {name: content_of_images(part) for name, part in parts.items()},
            (*listing.notes, *bad_files.left_out(bad, files)),
        )

    def labelled_files(self, images: FileList, path: Path, prepared: Mapping[str, Any]) -> Split:
        """Return labelled images below a folder as a run's samples, none of them bad."""
        found = self.scan(images, path, self.shape_as(prepared), len(images.files))
        bad_files.refuse(str(path), found.bad, way_out="")
        return self.split(found, Standardization.of(prepared["mean"], prepared["std"]))

    def scanned(self, parts: Mapping[str, FileList], root: Path) -> dict[str, Scan]:
        """Return what is found in the images of each split, 16-bit ones read by their real range.

        That is the range of the training images: it is known when they are read, and where they do
        not use all 16 bits, everything is read again.
        """
        total = sum(len(part.files) for part in parts.values())
        scans = {name: self.scan(part, root, self.shape, total) for name, part in parts.items()}
        depth = scans["train"].depth
        if self.depth != "auto" or depth in (0, WIDE_BITS):
            return scans
        shape = replace(self.shape, depth=depth)
        return {name: self.scan(part, root, shape, total) for name, part in parts.items()}

    def finds_depth(self, scans: Mapping[str, Scan]) -> bool:
        """Tell whether the depth of 16-bit images was found in the training images."""
        return self.depth == "auto" and scans["train"].depth > 0

    def scan(self, images: FileList, root: Path, shape: ImageShape, total: int) -> Scan:
        """Decode images below `root` once; they are some of `total` ones."""
        compute = partial(computed, workers=self.workers, timeout_s=self.worker_timeout_s)
        return scan(images, root, shape, self.fits_in_memory(total), compute)

    def fits_in_memory(self, images: int) -> bool:
        """Tell whether that many images are kept in memory."""
        return images * prod(self.shape.chw) <= self.memory_bytes

    def split_images(
        self, listing: Listing, source: str, seed: int
    ) -> tuple[FileList, FileList | None, FileList | None]:
        """Return the images of each split: as the data says, or else by fractions."""
        train, validation, test = listing.train, listing.validation, listing.test
        if not listing.is_split:
            train, test = _held_out(train, self.test_fraction, TEST_SEED)
        if validation is None:
            train, validation = _held_out(train, self.validation_fraction, seed)
        refuse_missing_classes(train, listing, source)
        return train, validation, test

    def split(self, found: Scan, scale: Standardization) -> ImagesInMemory | ImagesOnDisk:
        """Return images as a split."""
        files, targets = found.images.files, found.images.targets
        if found.pixels is not None:
            return ImagesInMemory(found.pixels, targets, scale)
        return ImagesOnDisk(files, targets, scale, found.shape, self.workers, self.worker_timeout_s)

    def prepare(self, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
        """Return image files as inputs: cropped and scaled as in training."""
        return prepare_images(words, self.shape_as(prepared), prepared)


def _held_out(images: FileList, fraction: float, seed: int) -> tuple[FileList, FileList | None]:
    """Return the images in two parts, the second with `fraction` of each class; None if empty."""
    numbered = Samples(torch.arange(len(images.targets)), images.targets)
    first, second = hold_out(numbered, fraction, seed)
    rest = None if second is None else images.rows(second.inputs)
    return images.rows(first.inputs), rest


def refuse_missing_classes(train: FileList | None, listing: Listing, source: str) -> None:
    """Raise DataError for a class of which no training image is left, or if there is none."""
    there = set() if train is None else set(train.targets.flatten().tolist())
    missing = [name for number, name in enumerate(listing.classes) if number not in there]
    if missing or not there:
        of_class = f" of class {missing[0]!r}" * bool(missing)
        raise DataError(
            f"{source}: no training image{of_class} is left",
            f"all{' of its' * bool(missing)} images were held out, or cannot be read",
            f"more images{' of it' * bool(missing)}, or smaller fractions",
        )


def content_of_images(images: FileList) -> Contents:
    """Return the content of a split: checksums of its files and of its classes."""
    targets = checksum([tensor_bytes(images.targets)])
    return content(len(images.files), checksum(files_in(images)), targets)


def files_in(images: FileList) -> Iterator[bytes]:
    """Yield the SHA-256 of each image file."""
    for path in images.files:
        with Path(path).open("rb") as file:
            yield file_digest(file, "sha256").digest()
