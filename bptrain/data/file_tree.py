"""The files of a kind below a folder, and what lies beside them that is not read.

Files    those whose names have the endings of the kind, in any folder below, sorted by path
Ignored  hidden files and folders, whose names begin with a dot; folders that operating systems and
         other programs leave behind; at the top, folders of training runs
Links    are followed; a link to a folder that it lies in is an error
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bptrain.data.data_file import exists, missing
from bptrain.errors import DataError
from bptrain.rundir.prepared import PREPARED

LEFT_BEHIND = (  # in lower case; thumbnails in them would be read
    *("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information"),
    *("lost+found", "__pycache__"),
)
RESULTS = ("runs", "wandb", "mlruns", "lightning_logs", "checkpoints")  # without any such file


class Entries(NamedTuple):
    """The names in a folder, sorted: of what is read, and of folders that are not."""

    folders: tuple[str, ...]
    files: tuple[str, ...]
    ignored: tuple[str, ...]


class FileKind(NamedTuple):
    """What is looked for: `noun` is a word for one file, `endings` are those of its names."""

    noun: str
    endings: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Tell whether a file is of this kind by the ending of its name, in any case."""
        return name.lower().endswith(self.endings)


class Tree(NamedTuple):
    """The paths below a folder, sorted: of the kind, of other files, and of ignored folders."""

    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def entries_of(folder: Path) -> Entries:
    """Return what a folder holds, without hidden files, or raise DataError."""
    folders, files, ignored = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".")
                if not entry.is_dir():
                    files += [] if hidden else [entry.name]
                elif hidden or entry.name.lower() in LEFT_BEHIND:
                    ignored.append(entry.name)
                else:
                    folders.append(entry.name)
    except FileNotFoundError as error:
        raise missing(folder) from error
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be read", error.strerror or str(error)
        ) from error
    return Entries(tuple(sorted(folders)), tuple(sorted(files)), tuple(sorted(ignored)))


def tree_of(folder: Path, kind: FileKind) -> Tree:
    """Return what lies below a folder, however deep, or raise DataError."""
    found: list[str] = []
    others: list[str] = []
    ignored: list[str] = []
    for place, entries in _walked(folder, ()):
        for name in entries.files:
            (found if kind.has(name) else others).append(str(place / name))
        for name in filter(kind.has, entries.folders):
            raise DataError(f"{place / name}: a folder where {a(kind.noun)} should be")
        ignored += [str(place / name) for name in entries.ignored]
    return Tree(tuple(sorted(found)), tuple(sorted(others)), tuple(sorted(ignored)))


def a(noun: str) -> str:
    """Return a noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _walked(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, Entries]]:
    """Yield a folder and those below it, each with what it holds.

    above  the real paths of the folders that it lies in
    """
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(f"{folder}: a folder that is a link to one that it lies in")
    entries = entries_of(folder)
    yield folder, entries
    for name in entries.folders:
        yield from _walked(folder / name, (*above, real))


def without_runs(folder: Path, entries: Entries, kind: FileKind) -> Entries:
    """Return the entries with folders of training runs among the ignored ones."""
    runs = [name for name in entries.folders if _holds_runs(folder / name, kind)]
    folders = tuple(name for name in entries.folders if name not in runs)
    return entries._replace(folders=folders, ignored=tuple(sorted((*entries.ignored, *runs))))


def _holds_runs(folder: Path, kind: FileKind) -> bool:
    """Tell whether a folder is a training run, holds some, or is a folder of results."""
    if folder.name.lower() in RESULTS and not tree_of(folder, kind).files:
        return True
    below = [folder, *(folder / name for name in entries_of(folder).folders)]
    return any(exists(each / PREPARED) for each in below)
