"""A look at a folder of images: its classes, their splits, and the size that fits."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bptrain.data.bad_files import BadFile
from bptrain.data.bad_files import listed as listed_bad
from bptrain.data.class_folders import Listing, list_files
from bptrain.data.first_look.found import (
    FEW,
    HELD_OUT,
    Found,
    batch_size_of,
    imbalance_of,
    spread_evenly,
)
from bptrain.data.images.image_file import ImageShape, size_and_mode
from bptrain.data.images.image_formats import IMAGE
from bptrain.data.images.image_scan import valid_image
from bptrain.data.notes import count, listed
from bptrain.errors import DataError
from bptrain.problem import Problem

MOST_OPENED = 200  # images that are looked at
SIZES = (96, 64, 48, 32, 28, 24, 16, 8)  # of the model's input; larger ones take longer
GRAY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
MOST_PIXELS = 2**28  # that are decoded to find damage: some seconds
HELD_OUT_KEYS = ("validation_fraction", "test_fraction")
TINY = ImageShape(1, 1, 3)


def look_at_images(root: Path) -> Found:
    """Return what a folder of images holds, or raise DataError."""
    listing = list_files(root, IMAGE)
    train = listing.train
    data: dict[str, Any] = {"kind": "image_folder", "root": str(root)}
    reasons = add_sizes(data, root, train.files)
    images = len(train.files)
    held_out = [key for key in HELD_OUT_KEYS if not _is_there(listing, key)]
    reasons |= add_fractions(data, images, held_out)
    problem = Problem("classification", shape_of(data), len(listing.classes), names=listing.classes)
    counts = _counts(listing)
    return Found(
        data, reasons, list(_seen(listing)), problem, images, imbalance=imbalance_of(counts)
    )


def add_sizes(data: dict[str, Any], root: Path, files: Sequence[str]) -> dict[str, str]:
    """Add to a config what is seen of some of the images; return the evidence for each key."""
    headers, bad = _opened(root, files)
    shorter = int(median(min(width, height) for width, height, _ in headers))
    data["size"] = next((each for each in SIZES if each <= shorter), SIZES[-1])
    data["channels"] = 1 if all(mode in GRAY for _, _, mode in headers) else 3
    reasons = {
        "size": f"of {count(len(headers), 'image')} that were opened, the median of the shorter "
        f"side is {shorter:,} pixels; a larger size shows more and takes longer",
        "channels": "all of them are grayscale" if data["channels"] == 1 else "they are in color",
    }
    if bad:
        data["on_bad_file"] = "skip"
        reasons["on_bad_file"] = f"{len(bad):,} more of them cannot be read: {listed_bad(bad)}"
    return reasons


def add_fractions(data: dict[str, Any], images: int, held_out: Sequence[str]) -> dict[str, str]:
    """Add the batch size, and larger parts to judge by where there are few images.

    held_out  the keys of the parts that are held out of the images
    """
    data["batch_size"] = batch_size_of(images)
    if images >= FEW:
        return {}
    data |= dict.fromkeys(held_out, HELD_OUT)
    return dict.fromkeys(
        held_out, f"of {count(images, 'image')} a tenth would be too few to judge by"
    )


def shape_of(data: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the shape of a model's input."""
    return data["channels"], data["size"], data["size"]


def _opened(root: Path, files: Sequence[str]) -> tuple[list[tuple[int, int, str]], list[BadFile]]:
    """Return width, height and mode of some images, and those of them that cannot be read.

    Raises DataError if that is each of them.
    """
    headers: list[tuple[int, int, str]] = []
    bad: list[BadFile] = []
    left = MOST_PIXELS
    for path in spread_evenly(files, MOST_OPENED):
        try:
            width, height, mode = size_and_mode(path)
            if left > 0:
                valid_image(path, TINY)
        except DataError as error:
            bad.append(BadFile(str(Path(path).relative_to(root)), error))
            continue
        left -= width * height
        headers.append((width, height, mode))
    if not headers:
        raise bad[0].error
    return headers, bad


def _is_there(listing: Listing, key: str) -> bool:
    """Return whether a folder holds the split for which a key would hold images out."""
    return listing.is_split and (key == "test_fraction" or listing.validation is not None)


def _counts(listing: Listing) -> dict[str, int]:
    numbers = listing.train.targets.bincount(minlength=len(listing.classes)).tolist()
    return dict(zip(listing.classes, numbers, strict=True))


def _seen(listing: Listing) -> Iterator[str]:
    counts = [f"{name} ({images:,})" for name, images in _counts(listing).items()]
    yield (
        f"{count(len(listing.train.files), 'image')} in {len(counts):,} folders, the classes: "
        + listed(counts, 20)
    )
    parts = {"validation": listing.validation, "test": listing.test}
    for name, part in parts.items():
        if part is not None:
            yield f"{count(len(part.files), 'image')} for {name}, in a folder of their own"
    if listing.is_split and listing.test is None:
        yield "no folder of test images: bptrain evaluate RUN FOLDER tests a run on others"
    yield from listing.notes
