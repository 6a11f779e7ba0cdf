"""Files below a folder, or in a zip file, read in place: nothing is unpacked to disk.

Names are paths below the root with slashes. Hidden files and folders, whose names begin with a
dot, are left out, and so are links to folders, which could form a circle.
"""

import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from bptrain.data.audio.sound_file import ENDINGS
from bptrain.data.data_file import missing
from bptrain.errors import DataError
from bptrain.free_memory import format_bytes

LARGEST_BYTES = 2**27  # of one file: a quarter of an hour of stereo; no zip bomb fits
ENCRYPTED = 1  # bit of a zip entry's flags
AGAIN = "fetch the file again"


class Files(Protocol):
    """Named files that can be read whole."""

    @property
    def names(self) -> list[str]:
        """The files' names, sorted."""
        ...

    def place(self, name: str) -> str:
        """Return what error messages call a file."""
        ...

    def read(self, name: str) -> bytes:
        """Return what a file holds, or raise DataError."""
        ...


@contextmanager
def opened(path: Path) -> Iterator[Files]:
    """Open a folder or a zip file for reading, or raise DataError."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise unreadable(str(path), error) from error
    if stat.S_ISDIR(kind):
        yield Folder(path)
        return
    if not stat.S_ISREG(kind):
        raise DataError(f"{path}: neither a folder nor a file")
    try:
        archive = ZipFile(path)
    except (BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: neither a folder nor a valid zip file", str(error), AGAIN
        ) from error
    with archive:
        yield Archive(path, archive)


class Folder:
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = sorted(self._found())

    def _found(self) -> Iterator[str]:
        for folder, below, names in os.walk(self.root, onerror=_refuse):
            for name in [each for each in below if is_hidden(each)]:
                below.remove(name)
            for name in [*names, *filter(is_recording, below)]:
                if not is_hidden(name):
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def place(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        """Return what a file holds, or raise DataError."""
        return read_file(self.root / name)


class Archive:
    """The files in a zip file that is open."""

    def __init__(self, path: Path, archive: ZipFile) -> None:
        self.path, self.archive = path, archive
        self.entries = self._entries()
        self.names = sorted(self.entries)

    def _entries(self) -> Mapping[str, ZipInfo]:
        entries: dict[str, ZipInfo] = {}
        for entry in self.archive.infolist():
            name = entry.filename.removesuffix("/")
            parts = name.split("/")
            if any(map(is_hidden, parts)) or (entry.is_dir() and not is_recording(name)):
                continue
            if name.startswith("/") or ".." in parts:
                raise DataError(
                    f"{self.place(name)}: a name that leads out of the zip file",
                    hint="a zip file from a source that you trust",
                )
            if name in entries:
                raise DataError(f"{self.place(name)}: the zip file holds this name twice")
            entries[name] = entry
        return entries

    def place(self, name: str) -> str:
        """Return the zip file's path and the name in it."""
        return f"{self.path}: {name}"

    def read(self, name: str) -> bytes:
        """Return what an entry holds, or raise DataError."""
        entry, place = self.entries[name], self.place(name)
        if entry.is_dir():
            raise DataError(f"{place}: a folder where a file should be")
        if entry.flag_bits & ENCRYPTED:
            raise DataError(f"{place}: encrypted", hint="unpack it and give data.path the folder")
        # the decompressors of other methods have no size limit: a zip bomb would fill the memory
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise DataError(
                f"{place}: compressed by method {entry.compress_type}",
                "only stored and deflated entries are read",
                "zip the files again",
            )
        refuse_if_too_large(entry.file_size, place)
        try:
            with self.archive.open(entry) as file:
                content = file.read(entry.file_size + 1)
        except (BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
            where = f"the entry starts at byte {entry.header_offset:,}"
            raise DataError(f"{place}: damaged: {error or 'cut off'}", where, AGAIN) from error
        if len(content) != entry.file_size:
            raise DataError(
                f"{place}: damaged: ends at byte {len(content):,} of {entry.file_size:,}",
                hint=AGAIN,
            )
        return content


def read_file(path: Path) -> bytes:
    """Return what a regular file holds, or raise DataError: reading a pipe could block for ever."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise DataError(f"{path}: a folder where a file should be")
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path}: not a regular file")
        refuse_if_too_large(found.st_size, str(path))
        with path.open("rb") as file:
            return file.read(found.st_size)
    except (OSError, ValueError) as error:
        raise unreadable(str(path), error) from error


def refuse_if_too_large(size: int, place: str) -> None:
    """Raise DataError for a file that is larger than any that is read."""
    if size > LARGEST_BYTES:
        raise DataError(
            f"{place}: too large: {format_bytes(size)}",
            f"a file may have {format_bytes(LARGEST_BYTES)}",
            "cut it into shorter ones",
        )


def is_recording(name: str) -> bool:
    """Tell whether a name has the ending of a recording."""
    return name.lower().endswith(ENDINGS)


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is left out."""
    return (name.startswith(".") and name != "..") or name == "__MACOSX"


def unreadable(place: str, error: OSError | ValueError) -> DataError:
    """Return the error for a file that the file system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return missing(Path(place))
    return DataError(f"{place}: cannot be read", getattr(error, "strerror", None) or str(error))


def _refuse(error: OSError) -> None:
    raise unreadable(str(error.filename), error)
