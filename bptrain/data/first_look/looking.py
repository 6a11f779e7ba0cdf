"""Which kind of data is at a path: by the endings of files, then by what they hold."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from bptrain.data.audio.folder_or_zip import is_hidden, is_recording
from bptrain.data.audio.sound_file import ENDINGS as SOUNDS
from bptrain.data.data_file import is_directory, refuse_unless_file
from bptrain.data.encodings import HEAD
from bptrain.data.file_kinds import refuse_other_formats
from bptrain.data.file_tree import LEFT_BEHIND, entries_of
from bptrain.data.first_look.arrays import look_at_arrays
from bptrain.data.first_look.found import Found
from bptrain.data.first_look.image_tables import (
    is_table_of_images,
    look_at_image_table,
    table_of_images,
)
from bptrain.data.first_look.images import look_at_images
from bptrain.data.first_look.recordings import look_at_recordings
from bptrain.data.first_look.tables import look_at_table
from bptrain.data.first_look.text_folders import look_at_text_folder
from bptrain.data.first_look.texts import look_at_text
from bptrain.data.images.image_formats import ENDINGS as IMAGES
from bptrain.data.notes import count, listed
from bptrain.data.tables.table_file import TABLES
from bptrain.data.text.text_file import TEXT
from bptrain.errors import DataError, UsageError

ARRAYS, ZIPPED = ".npz", ".zip"
TEXT_EACH = 0.9  # recordings for a text, from which on texts are what is spoken in them
MOST_OF_ONE = 2  # folders, from which on each is a class
MOST_FILES = 20_000  # of a folder, whose endings decide what it holds
FORMS = (
    "a table (.csv, .tsv, .parquet), a folder of images, recordings or texts by class, a text "
    "(.txt) or arrays (.npz)"
)


def look_at(path: Path, target: str | None = None) -> Found:
    """Return what the data at a path is and how it is read.

    target  the column or array to predict; None to guess it

    Raises DataError for what cannot be read, UsageError where nothing tells what is to be learned.
    """
    _refuse_name(path)
    if is_directory(path):
        return _look_at_folder(path, target)
    refuse_unless_file(path, FORMS)
    ending = path.suffix.lower()
    if ending == ARRAYS:
        return look_at_arrays(path, target)
    if ending in TABLES:
        look = look_at_image_table if is_table_of_images(path) else look_at_table
        return look(path, target)
    _refuse_target(path, target)
    if ending == ZIPPED and _holds_recordings(path):
        return look_at_recordings(path)
    if ending in (*IMAGES, *SOUNDS):
        raise DataError(
            f"{path}: a single file", "classes are learned from many", "the folder of all of them"
        )
    with path.open("rb") as file:
        refuse_other_formats(path, file.read(HEAD))
    return look_at_text(path)


def _look_at_folder(path: Path, target: str | None) -> Found:
    names = list(islice(_file_names(path), MOST_FILES))
    kinds = Counter(filter(None, map(_kind_of, names)))
    if not kinds:
        endings = sorted({Path(name).suffix or "no ending" for name in names})
        raise DataError(
            f"{path}: nothing to learn from among {count(len(names), 'file')}",
            f"their endings: {listed(endings)}" * bool(endings),
            FORMS,
        )
    kind = kinds.most_common(1)[0][0]
    if kind == "texts" and kinds["recordings"] >= TEXT_EACH * kinds["texts"]:
        kind = "recordings"
    if kind in ("table", "arrays"):
        inside = sorted(name for name in names if _kind_of(name) == kind)
        raise UsageError(
            f"{path}: a folder of {count(len(inside), 'file')} like {inside[0]!r}",
            "one file at a time is looked at",
            f"bptrain init {path / inside[0]}",
        )
    if kind == "images" and (table := table_of_images(path)) is not None:
        return look_at_image_table(table, target)
    _refuse_target(path, target)
    if kind == "images":
        return look_at_images(path)
    return look_at_recordings(path) if kind == "recordings" else _look_at_texts(path)


def _look_at_texts(path: Path) -> Found:
    """Return what a folder of texts holds: classes by folder, or one text in several files."""
    entries = entries_of(path)
    is_one_text = any(map(TEXT.has, entries.files)) or len(entries.folders) < MOST_OF_ONE
    return look_at_text(path) if is_one_text else look_at_text_folder(path)


def _file_names(root: Path) -> Iterator[str]:
    """Yield the names of the files below a folder, without hidden and left behind ones."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read", error.strerror or str(error))

    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = sorted(
            name for name in below if not is_hidden(name) and name.lower() not in LEFT_BEHIND
        )
        relative = Path(folder).relative_to(root)
        yield from (str(relative / name) for name in sorted(names) if not is_hidden(name))


def _kind_of(name: str) -> str:
    """Return what a file holds by its ending, "" for an ending that says nothing."""
    endings = {"images": IMAGES, "recordings": SOUNDS, "texts": TEXT.endings, "arrays": (ARRAYS,)}
    for kind, known in {**endings, "table": TABLES}.items():
        if name.lower().endswith(known):
            return kind
    return ""


def _holds_recordings(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            return any(map(is_recording, archive.namelist()))
    except (BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def _refuse_name(path: Path) -> None:
    """Raise DataError for a path that a config, a text in UTF-8, cannot hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{str(path)!a}: its name is not UTF-8", "", "another name") from error


def _refuse_target(path: Path, target: str | None) -> None:
    if target is not None:
        raise UsageError(
            f"{path}: --target names a column of a table, or an array of an .npz file",
            "what is to be learned of this is not in a column",
        )
