"""Lists the images of a folder with a subfolder for each class, by names alone.

Split         ROOT/train/CLASS/*, and optionally ROOT/val/CLASS/* and ROOT/test/CLASS/*; recognized
              by folders inside ROOT/train
Not split     ROOT/CLASS/*, which the caller splits
Classes       the folders in `train` or ROOT, sorted by name; at least two, none of them empty
Images        files with one of the endings below, in upper or lower case, sorted by name; they lie
              directly in their class's folder
Ignored       names that begin with a dot, files with other endings, files outside class folders
Links         are followed
"""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.data.data_file import is_directory, missing
from bptrain.errors import DataError

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
PARTS = ("train", "val", "test")


class ImageList(NamedTuple):
    """The images of one split: their paths, their classes [N], and how many files are none."""

    files: tuple[str, ...]
    targets: Tensor
    ignored: int = 0

    def rows(self, rows: Tensor) -> "ImageList":
        """Return the images of these indices."""
        return ImageList(tuple(self.files[row] for row in rows.tolist()), self.targets[rows])


class Listing(NamedTuple):
    """The names of the classes, and the images: all of them in `train` if not `is_split`."""

    classes: tuple[str, ...]
    train: ImageList
    validation: ImageList | None
    test: ImageList | None
    is_split: bool


def list_images(root: Path) -> Listing:
    """Return what `root` holds, or raise DataError."""
    is_split = is_directory(root / "train") and bool(_entries(root / "train")[0])
    if not is_split:
        classes, train = list_classes(root, None)
        return Listing(classes, train, None, None, is_split)
    folders = _entries(root)[0]
    unknown = [name for name in folders if name not in PARTS]
    if unknown:
        raise DataError(
            f"{root / unknown[0]}: a folder beside train", f"known are {', '.join(PARTS)}"
        )
    classes, train = list_classes(root / "train", None)
    validation, test = (
        list_classes(root / part, classes)[1] if part in folders else None for part in PARTS[1:]
    )
    return Listing(classes, train, validation, test, is_split)


def list_classes(folder: Path, known: tuple[str, ...] | None) -> tuple[tuple[str, ...], ImageList]:
    """Return the classes and the images of a folder of class folders.

    known  the classes of the training images: another class is an error
    """
    names = _entries(folder)[0]
    classes = tuple(names) if known is None else known
    if len(names) < 2 and known is None:
        found = f"only {names[0]!r}" if names else "none"
        raise DataError(
            f"{folder}: at least two classes are needed, {found} found",
            "each class is a folder of images: cat/1.png, or train/cat/1.png",
        )
    files: list[str] = []
    targets: list[int] = []
    ignored = 0
    for name in names:
        if name not in classes:
            raise DataError(f"{folder / name}: a class without training images")
        images, others = _images(folder / name)
        files += images
        ignored += others
        targets += [classes.index(name)] * len(images)
    if not files:
        raise DataError(f"{folder}: no images", "it has no class folder")
    return classes, ImageList(tuple(files), torch.tensor(targets), ignored)


def _images(folder: Path) -> tuple[list[str], int]:
    """Return the paths of a class's images, and how many other files there are.

    Raises DataError if there is no image.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{str(folder)!a}: the class's name is not UTF-8") from error
    folders, files = _entries(folder)
    if folders:
        raise DataError(
            f"{folder / folders[0]}: a folder inside a class",
            "images must be directly in the folder of their class",
        )
    images = [name for name in files if name.lower().endswith(ENDINGS)]
    if not images:
        raise DataError(
            f"{folder}: a class without images",
            f"none of its {len(files)} files ends in {' '.join(ENDINGS)}",
        )
    return [str(folder / name) for name in images], len(files) - len(images)


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder, each sorted."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except FileNotFoundError as error:
        raise missing(folder) from error
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be read", error.strerror or str(error)
        ) from error
    return sorted(folders), sorted(files)
