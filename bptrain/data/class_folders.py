"""Lists the files of a folder with a subfolder for each class, by names alone.

Split         ROOT/train/CLASS/*, and optionally ROOT/val/CLASS/* and ROOT/test/CLASS/*, in any of
              the spellings below; recognized by folders inside ROOT/train
Not split     ROOT/CLASS/*, which the caller splits
Classes       the folders in `train` or ROOT, sorted by name; at least two, none of them empty
Files         all of a kind that lie in their class's folder or in folders inside it, see
              `file_tree`
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.data.file_tree import FileKind, Tree, entries_of, tree_of, without_runs
from bptrain.data.notes import count, listed
from bptrain.errors import DataError

SPELLINGS = {  # of each part, in lower case, without a word such as "set" behind it
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst"),
}
BEHIND = re.compile(r"[ _-]?(set|data|dataset|images|imgs|texts|files|split)$")


class FileList(NamedTuple):
    """The files of one split: their paths and their classes [N], and what else was found."""

    files: tuple[str, ...]
    targets: Tensor
    notes: tuple[str, ...] = ()

    def rows(self, rows: Tensor) -> "FileList":
        """Return the files of these indices."""
        return FileList(tuple(self.files[row] for row in rows.tolist()), self.targets[rows])


class Listing(NamedTuple):
    """The names of the classes, and the files: all of them in `train` if not `is_split`."""

    classes: tuple[str, ...]
    train: FileList
    validation: FileList | None
    test: FileList | None
    is_split: bool
    notes: tuple[str, ...] = ()


def list_files(root: Path, kind: FileKind) -> Listing:
    """Return what `root` holds, or raise DataError."""
    entries = without_runs(root, entries_of(root), kind)
    parts = parts_of(root, entries.folders, kind.noun)
    trained = parts.get("train")
    if trained is None or not entries_of(root / trained).folders:
        _refuse_parts_alone(root, parts, kind.noun)
        classes, train = list_classes(root, None, kind)
        return Listing(classes, train, None, None, is_split=False, notes=train.notes)
    unknown = [name for name in entries.folders if name not in parts.values()]
    if unknown:
        raise DataError(
            f"{root / unknown[0]}: a folder beside {trained}",
            f"known are {', '.join(SPELLINGS)}, and other spellings of these",
        )
    classes, train = list_classes(root / trained, None, kind)
    validation, test = (
        list_classes(root / parts[part], classes, kind)[1] if part in parts else None
        for part in ("val", "test")
    )
    notes = [note for part in (train, validation, test) if part for note in part.notes]
    notes += ignored_folders(entries.ignored)
    return Listing(classes, train, validation, test, is_split=True, notes=tuple(notes))


def parts_of(root: Path, folders: Iterable[str], noun: str) -> dict[str, str]:
    """Return the folder of each part, or raise DataError for two folders of the same part."""
    parts: dict[str, str] = {}
    for name in folders:
        part = part_of(name)
        if part in parts:
            raise DataError(f"{root}: two folders of {part} {noun}s: {parts[part]} and {name}")
        if part is not None:
            parts[part] = name
    return parts


def part_of(name: str) -> str | None:
    """Return which part a folder's name stands for, if any."""
    plain = BEHIND.sub("", name.lower())
    return next((part for part, names in SPELLINGS.items() if plain in names), None)


def _refuse_parts_alone(root: Path, parts: dict[str, str], noun: str) -> None:
    """Raise DataError for folders of parts, with classes in them, but without one for training."""
    for part, name in parts.items():
        if part != "train" and entries_of(root / name).folders:
            raise DataError(
                f"{root / name}: {part} {noun}s, and no training {noun}s",
                f"there is no folder of classes named {' or '.join(SPELLINGS['train'])} beside it",
                f"another name, if {name} is a class",
            )


def list_classes(
    folder: Path, known: tuple[str, ...] | None, kind: FileKind
) -> tuple[tuple[str, ...], FileList]:
    """Return the classes and the files of a folder of class folders.

    known  the classes of the training files: another class is an error
    """
    entries = without_runs(folder, entries_of(folder), kind)
    names = entries.folders
    classes = names if known is None else known
    if len(names) < 2 and known is None:
        raise _too_few_classes(folder, names, kind)
    files: list[str] = []
    targets: list[int] = []
    trees = []
    for name in names:
        if name not in classes:
            raise DataError(f"{folder / name}: a class without training {kind.noun}s")
        tree = _tree_of_class(folder / name, kind)
        trees.append(tree)
        files += tree.files
        targets += [classes.index(name)] * len(tree.files)
    if not files:
        raise DataError(
            f"{folder}: no {kind.noun}s",
            "it has no class folder",
            f"{kind.noun}s without classes are for bptrain predict: move them elsewhere",
        )
    ignored = [*entries.ignored, *(each for tree in trees for each in tree.ignored)]
    notes = (
        *_other_files([each for tree in trees for each in tree.others], kind.noun),
        *ignored_folders(ignored),
        *_nested(folder, files, kind.noun),
    )
    return classes, FileList(tuple(files), torch.tensor(targets), notes)


def _too_few_classes(folder: Path, names: Sequence[str], kind: FileKind) -> DataError:
    """Return the error for a folder of fewer than two classes, with the folder that has them."""
    example = f"cat/1{kind.endings[0]}"
    hint = f"each class is a folder of {kind.noun}s: {example}, or train/{example}"
    if len(names) == 1 and len(entries_of(folder / names[0]).folders) > 1:
        hint = f"data.root={folder / names[0]}, whose folders would be the classes"
    found = f"only {names[0]!r}" if names else "none"
    return DataError(f"{folder}: at least two classes are needed, {found} found", "", hint)


def _tree_of_class(folder: Path, kind: FileKind) -> Tree:
    """Return what lies below the folder of a class, or raise DataError if none is of the kind."""
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{str(folder)!a}: the class's name is not UTF-8") from error
    tree = tree_of(folder, kind)
    if not tree.files:
        raise DataError(
            f"{folder}: a class without {kind.noun}s",
            f"none of its {count(len(tree.others), 'file')} ends in {' '.join(kind.endings)}",
        )
    return tree


def _other_files(files: Sequence[str], noun: str) -> list[str]:
    """Return how many files are of another kind, and their endings."""
    if not files:
        return []
    endings = {PurePath(each).suffix.lower() or "none" for each in files}
    return [
        f"ignored: {count(len(files), 'file')}: no {noun} by its ending: {listed(sorted(endings))}"
    ]


def ignored_folders(folders: Iterable[str]) -> list[str]:
    """Return the names of the folders that are not read."""
    names = sorted({PurePath(each).name for each in folders})
    return [f"ignored: folders {listed(names)}"] if names else []


def _nested(folder: Path, files: Sequence[str], noun: str) -> list[str]:
    """Return how many files lie in folders inside a class's folder."""
    depth = len(folder.parts) + 2  # of a class's folder, and an image in it
    below = [each for each in files if len(PurePath(each).parts) > depth]
    return [f"read: {count(len(below), noun)} in folders inside a class's folder"] * bool(below)
