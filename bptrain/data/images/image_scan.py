"""The pass over all images before training: finds bad files, and the others' statistics."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bptrain.data.bad_files import BadFile
from bptrain.data.class_folders import FileList
from bptrain.data.images.image_file import (
    FilePath,
    ImageShape,
    depth_of,
    read_image,
    verify_image,
)
from bptrain.data.images.image_splits import LEVELS, channel_histograms
from bptrain.errors import DataError

SCAN_BATCH = 64  # images decoded at a time
BAD, GOOD = 0, 1  # GOOD is added to an image's depth

Compute = Callable[[Any, Sequence[Sequence[str]]], Iterator[NDArray[np.uint8]]]


class Scan(NamedTuple):
    """What was found in the images of a split.

    images  those that can be read
    pixels  theirs [N, C, H, W], if they stay in memory
    counts  how often each value occurs in each channel [C, 256]
    depth   bits that the brightest pixel of all 16-bit files takes; 0 if there are none
    bad     the other files
    shape   what all were read as
    """

    images: FileList
    pixels: Tensor | None
    counts: Tensor
    depth: int
    bad: tuple[BadFile, ...]
    shape: ImageShape


@dataclass(frozen=True)
class Scanner:
    """From the paths of a batch to bytes [B, 1 + C H W]: GOOD and an image's depth, its pixels.

    A bad file is a row of zeros, so that the others are read too.
    """

    shape: ImageShape

    def __call__(self, files: Sequence[str]) -> NDArray[np.uint8]:
        """Return the rows of these files."""
        rows = np.zeros((len(files), 1 + prod(self.shape.chw)), np.uint8)
        for row, file in zip(rows, files, strict=True):
            try:
                pixels = valid_image(file, self.shape)
                row[0] = GOOD + depth_of(file)
            except DataError:  # which the training process finds again, see `bad_file`
                continue
            row[1:] = pixels.flatten().numpy()
        return rows


def valid_image(file: FilePath, shape: ImageShape) -> Tensor:
    """Return the bytes [C, H, W] of a file whose checksums are right too, or raise DataError."""
    verify_image(file)
    return read_image(file, shape)


def scan(
    images: FileList, root: Path, shape: ImageShape, in_memory: bool, compute: Compute
) -> Scan:
    """Decode every image once.

    compute  yields a task's result for each batch of paths, in this process or in others
    """
    total = len(images.files)
    kept = torch.empty((total, *shape.chw), dtype=torch.uint8) if in_memory else None
    counts = torch.zeros(shape.channels, LEVELS, dtype=torch.int64)
    batches = [images.files[start : start + SCAN_BATCH] for start in range(0, total, SCAN_BATCH)]
    valid: list[int] = []
    bad: list[BadFile] = []
    depth = 0
    for number, rows in enumerate(compute(Scanner(shape), batches)):
        found = rows[:, 0] != BAD
        pixels = torch.from_numpy(rows[found, 1:]).view(-1, *shape.chw)
        counts += channel_histograms(pixels)
        if kept is not None:
            kept[len(valid) : len(valid) + len(pixels)] = pixels
        depth = max(depth, int(rows[:, 0].max()) - GOOD)
        valid += (number * SCAN_BATCH + found.nonzero()[0]).tolist()
        bad += [bad_file(batches[number][row], root, shape) for row in (~found).nonzero()[0]]
    rest = images if len(valid) == total else images.rows(torch.tensor(valid, dtype=torch.int64))
    return Scan(
        rest, None if kept is None else kept[: len(valid)], counts, depth, tuple(bad), shape
    )


def bad_file(path: str, root: Path, shape: ImageShape) -> BadFile:
    """Return a file that could not be read, with what is wrong with it."""
    name = str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
    try:
        valid_image(path, shape)
    except DataError as error:
        return BadFile(name, error)
    why = "it could not be read a moment ago, and can be read now"
    return BadFile(name, DataError(f"{path}: cannot be relied on", why))
