"""Lists the images of a folder with a subfolder for each class, by names alone.

Split         ROOT/train/CLASS/*, and optionally ROOT/val/CLASS/* and ROOT/test/CLASS/*, in any of
              the spellings below; recognized by folders inside ROOT/train
Not split     ROOT/CLASS/*, which the caller splits
Classes       the folders in `train` or ROOT, sorted by name; at least two, none of them empty
Images        all that lie in their class's folder or in folders inside it, see `image_tree`
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.data.images.image_formats import ENDINGS
from bptrain.data.images.image_tree import Tree, entries_of, tree_of, without_runs
from bptrain.data.notes import count, listed
from bptrain.errors import DataError

SPELLINGS = {  # of each part, in lower case, without a word such as "set" behind it
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
BEHIND = re.compile(r"[ _-]?(set|data|dataset|images|imgs|split)$")


class ImageList(NamedTuple):
    """The images of one split: their paths and their classes [N], and what else was found."""

    files: tuple[str, ...]
    targets: Tensor
    notes: tuple[str, ...] = ()

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
    notes: tuple[str, ...] = ()


def list_images(root: Path) -> Listing:
    """Return what `root` holds, or raise DataError."""
    entries = without_runs(root, entries_of(root))
    parts = parts_of(root, entries.folders)
    trained = parts.get("train")
    if trained is None or not entries_of(root / trained).folders:
        _refuse_parts_alone(root, parts)
        classes, train = list_classes(root, None)
        return Listing(classes, train, None, None, is_split=False, notes=train.notes)
    unknown = [name for name in entries.folders if name not in parts.values()]
    if unknown:
        raise DataError(
            f"{root / unknown[0]}: a folder beside {trained}",
            f"known are {', '.join(SPELLINGS)}, and other spellings of these",
        )
    classes, train = list_classes(root / trained, None)
    validation, test = (
        list_classes(root / parts[part], classes)[1] if part in parts else None
        for part in ("val", "test")
    )
    notes = [note for part in (train, validation, test) if part for note in part.notes]
    notes += ignored_folders(entries.ignored)
    return Listing(classes, train, validation, test, is_split=True, notes=tuple(notes))


def parts_of(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """Return the folder of each part, or raise DataError for two folders of the same part."""
    parts: dict[str, str] = {}
    for name in folders:
        part = part_of(name)
        if part in parts:
            raise DataError(f"{root}: two folders of {part} images: {parts[part]} and {name}")
        if part is not None:
            parts[part] = name
    return parts


def part_of(name: str) -> str | None:
    """Return which part a folder's name stands for, if any."""
    plain = BEHIND.sub("", name.lower())
    return next((part for part, names in SPELLINGS.items() if plain in names), None)


def _refuse_parts_alone(root: Path, parts: dict[str, str]) -> None:
    """Raise DataError for folders of parts, with classes in them, but without training images."""
    for part, name in parts.items():
        if part != "train" and entries_of(root / name).folders:
            raise DataError(
                f"{root / name}: {part} images, and no training images",
                f"there is no folder of classes named {' or '.join(SPELLINGS['train'])} beside it",
                f"another name, if {name} is a class",
            )


def list_classes(folder: Path, known: tuple[str, ...] | None) -> tuple[tuple[str, ...], ImageList]:
    """Return the classes and the images of a folder of class folders.

    known  the classes of the training images: another class is an error
    """
    entries = without_runs(folder, entries_of(folder))
    names = entries.folders
    classes = names if known is None else known
    if len(names) < 2 and known is None:
        raise _too_few_classes(folder, names)
    files: list[str] = []
    targets: list[int] = []
    trees = []
    for name in names:
        if name not in classes:
            raise DataError(f"{folder / name}: a class without training images")
        tree = _tree_of_class(folder / name)
        trees.append(tree)
        files += tree.images
        targets += [classes.index(name)] * len(tree.images)
    if not files:
        raise DataError(
            f"{folder}: no images",
            "it has no class folder",
            "images without classes are for bptrain predict: move them elsewhere",
        )
    ignored = [*entries.ignored, *(each for tree in trees for each in tree.ignored)]
    notes = (
        *ignored_images([each for tree in trees for each in tree.others]),
        *ignored_folders(ignored),
        *_nested(folder, files),
    )
    return classes, ImageList(tuple(files), torch.tensor(targets), notes)


def _too_few_classes(folder: Path, names: Sequence[str]) -> DataError:
    """Return the error for a folder of fewer than two classes, with the folder that has them."""
    hint = "each class is a folder of images: cat/1.png, or train/cat/1.png"
    if len(names) == 1 and len(entries_of(folder / names[0]).folders) > 1:
        hint = f"data.root={folder / names[0]}, whose folders would be the classes"
    found = f"only {names[0]!r}" if names else "none"
    return DataError(f"{folder}: at least two classes are needed, {found} found", "", hint)


def _tree_of_class(folder: Path) -> Tree:
    """Return what lies below the folder of a class, or raise DataError if that is no image."""
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{str(folder)!a}: the class's name is not UTF-8") from error
    tree = tree_of(folder)
    if not tree.images:
        raise DataError(
            f"{folder}: a class without images",
            f"none of its {count(len(tree.others), 'file')} ends in {' '.join(ENDINGS)}",
        )
    return tree


def ignored_images(files: Sequence[str]) -> list[str]:
    """Return how many files are no images, and their endings."""
    if not files:
        return []
    endings = {PurePath(each).suffix.lower() or "none" for each in files}
    return [
        f"ignored: {count(len(files), 'file')}: no image by its ending: {listed(sorted(endings))}"
    ]


def ignored_folders(folders: Iterable[str]) -> list[str]:
    """Return the names of the folders that are not read."""
    names = sorted({PurePath(each).name for each in folders})
    return [f"ignored: folders {listed(names)}"] if names else []


def _nested(folder: Path, files: Sequence[str]) -> list[str]:
    """Return how many images lie in folders inside a class's folder."""
    depth = len(folder.parts) + 2  # of a class's folder, and an image in it
    below = [each for each in files if len(PurePath(each).parts) > depth]
    return [f"read: {count(len(below), 'image')} in folders inside a class's folder"] * bool(below)
