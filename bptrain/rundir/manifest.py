"""A manifest of a folder: the size and SHA-256 of each file, verified when the file is read.

The manifest is written last, as canonical JSON: it is valid only if encoding what was read gives
the same bytes again, so a changed bit in the manifest itself is found too.

Sizes are compared before a file is opened, and no byte is interpreted before its checksum is
verified. Links, pipes and devices are not opened: reading a pipe would block.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from pydantic import Field

from bptrain.errors import CheckpointError
from bptrain.free_memory import format_bytes, free_bytes
from bptrain.rundir.canonical_json import decode, encode
from bptrain.rundir.durable_files import READ, sync_directory, write_parts
from bptrain.stateful import PlainState

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 4096  # bytes
ANOTHER = "take another checkpoint of the run"


class Entry(PlainState):
    """The manifest's entry of a file."""

    bytes: int = Field(ge=0)
    sha256: str


class Hashed:
    """The parts of a file, counted and hashed as they pass."""

    def __init__(self, parts: Iterable[bytes | memoryview]) -> None:
        self.parts, self.size, self.sha256 = parts, 0, sha256()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Yield the parts."""
        for part in self.parts:
            self.size += len(part)
            self.sha256.update(part)
            yield part

    @property
    def entry(self) -> Entry:
        """The file's entry, once all parts have passed."""
        return Entry(bytes=self.size, sha256=self.sha256.hexdigest())


def seal(folder: Path, files: Iterable[tuple[str, Iterable[bytes | memoryview]]]) -> None:
    """Write files and their manifest into an empty folder, and wait until they are on disk."""
    manifest = {}
    for name, parts in files:
        hashed = Hashed(parts)
        write_parts(folder / name, hashed)
        manifest[name] = hashed.entry.model_dump()
    write_parts(folder / MANIFEST, [encode(manifest)])
    sync_directory(folder)


def read_manifest(folder: Path, names: tuple[str, ...]) -> dict[str, Entry]:
    """Return the entries of exactly `names`, after comparing the files' sizes with them.

    The files themselves are not read. Raises CheckpointError.
    """
    path = folder / MANIFEST
    if not S_ISDIR(_status(folder).st_mode):
        raise CheckpointError(f"{folder}: not a folder", hint=ANOTHER)
    content = read_regular(path, LARGEST_MANIFEST)
    try:
        entries = _entries(decode(content), names)
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged", str(error), ANOTHER) from error
    for name, entry in entries.items():
        _refuse_size(folder / name, _regular_size(folder / name), entry.bytes)
    return entries


def read_verified(path: Path, entry: Entry, largest: int | None = None) -> bytes:
    """Return the content of a file if it matches its entry, or raise CheckpointError."""
    most = free_bytes() if largest is None else largest
    if entry.bytes > most:
        raise CheckpointError(
            f"{path}: too large",
            f"{format_bytes(entry.bytes)}, at most {format_bytes(most)} can be read",
        )
    content = read_regular(path, entry.bytes)
    _refuse_size(path, len(content), entry.bytes)
    if sha256(content).hexdigest() != entry.sha256:
        raise CheckpointError(
            f"{path}: damaged", "its content does not match its checksum in the manifest", ANOTHER
        )
    return content


def _entries(manifest: Any, names: tuple[str, ...]) -> dict[str, Entry]:
    if not isinstance(manifest, dict) or set(manifest) != set(names):
        raise ValueError(f"it does not list exactly {', '.join(names)}")
    return {name: Entry.read(entry) for name, entry in manifest.items()}


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes, or raise CheckpointError."""
    if _regular_size(path) > most:
        raise CheckpointError(f"{path}: damaged", f"larger than {most:,} bytes", ANOTHER)
    try:
        # the file may have been replaced since: no link is followed, and a pipe does not block
        descriptor = os.open(path, READ)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(min(most, os.fstat(descriptor).st_size))
    except OSError as error:
        raise _unreadable(path, error) from error


def _regular_size(path: Path) -> int:
    status = _status(path)
    if not S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: not a regular file", "it is not opened", ANOTHER)
    return status.st_size


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _refuse_size(path: Path, size: int, expected: int) -> None:
    if size != expected:
        raise CheckpointError(
            f"{path}: damaged", f"{size:,} bytes, the manifest says {expected:,}", ANOTHER
        )


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path}: cannot be read", error.strerror or str(error), ANOTHER)
