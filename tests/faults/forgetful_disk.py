"""A disk that loses at a power cut what POSIX lets it lose: whatever was not synced.

Names     A folder's changes (a file created, renamed, removed) are durable once the folder is
          synced. Of the later ones, each folder loses all but the first n, n drawn at random.
Contents  A file's bytes are durable once the file is synced. What was written later may survive
          in full, in part or not at all: an appended tail ends anywhere, or ends in zeros.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from stat import S_ISDIR, S_ISREG
from typing import Any

LOSES_ALL = 0.4  # share of the power cuts: the worst case


@dataclass
class Change:
    """A change of a folder's entries: a name was added, removed, or renamed to another.

    backup  a hard link elsewhere to the file that the change removed
    """

    folder: int  # by inode: a folder may be renamed later
    came: str = ""
    went: str = ""
    backup: Path | None = None
    inode: int = 0  # of a removed folder


class ForgetfulDisk:
    """Records each operation before it is done, and can undo those that were not synced."""

    def __init__(
        self, root: Path, backup_dir: Path, real: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.root, self.backup_dir, self.real = root, backup_dir, real
        self.changes: list[Change] = []
        self.expected: Change | None = None
        self.contents: dict[int, bytes] = {}  # by inode: the durable content of a changed file
        self.backups = 0
        self.held_open: list[int] = []

    def expect(self, name: str, path: Path, target: Path | None, arguments: Sequence[Any]) -> None:
        """Record that a name is about to be changed."""
        folder = path.parent.stat().st_ino
        self.expected = None
        if name == "open":
            if not path.exists():
                self.expected = Change(folder, came=path.name)
            elif arguments[0] & os.O_TRUNC:
                self.contents.setdefault(path.stat().st_ino, path.read_bytes())
        elif name == "mkdir":
            self.expected = Change(folder, came=path.name)
        elif name == "rmdir":
            # held open, so that no later folder gets its inode
            self.held_open.append(self.real["open"](path, os.O_RDONLY))
            self.expected = Change(folder, went=path.name, inode=path.stat().st_ino)
        elif name in ("unlink", "remove"):
            self.expected = Change(folder, went=path.name, backup=self.back_up(path))
        elif name in ("rename", "replace"):
            assert target is not None
            assert target.parent == path.parent
            backup = self.back_up(target) if target.exists() else None
            self.expected = Change(folder, target.name, path.name, backup)
        else:
            raise NotImplementedError(name)

    def settle(self) -> None:
        """Record that the expected change was done."""
        if self.expected is not None:
            self.changes.append(self.expected)

    def back_up(self, path: Path) -> Path:
        """Make a second hard link to a file before its name is removed."""
        self.backups += 1
        backup = self.backup_dir / str(self.backups)
        os.link(path, backup)
        return backup

    def touch(self, name: str, descriptor: int) -> None:
        """Record that an open file is about to be changed or synced."""
        status = os.fstat(descriptor)
        if S_ISDIR(status.st_mode):
            self.changes = [each for each in self.changes if each.folder != status.st_ino]
        elif S_ISREG(status.st_mode) and name in ("fsync", "fdatasync"):
            self.contents.pop(status.st_ino, None)
        elif S_ISREG(status.st_mode):
            now = Path(f"/proc/self/fd/{descriptor}").read_bytes
            if status.st_ino not in self.contents:
                self.contents[status.st_ino] = now()

    def forget(self, random: Random) -> None:
        """Reduce the folder to what survives a power cut."""
        for name, function in self.real.items():
            setattr(os, name, function)
        loses_all = random.random() < LOSES_ALL
        self.forget_names(random, loses_all)
        for path in self.root.rglob("*"):
            held = self.contents.get(path.stat().st_ino)
            if held is not None and path.is_file():
                path.write_bytes(held if loses_all else mixed(held, path.read_bytes(), random))

    def forget_names(self, random: Random, loses_all: bool) -> None:
        """Undo each folder's last changes."""
        by_folder: dict[int, list[Change]] = defaultdict(list)
        for each in self.changes:
            by_folder[each.folder].append(each)
        lost = []
        for changes in by_folder.values():
            lost += changes[0 if loses_all else random.randint(0, len(changes)) :]
        again: dict[int, int] = {}  # new inodes of restored folders by their old ones
        for change in reversed(self.changes):
            if any(change is each for each in lost):
                self.undo(change, again)

    def undo(self, change: Change, again: dict[int, int]) -> None:
        """Undo the change of a name, if its folder still exists."""
        inode = again.get(change.folder, change.folder)
        folders = [self.root, *(path for path in self.root.rglob("*") if path.is_dir())]
        folder = next((each for each in folders if each.stat().st_ino == inode), None)
        if folder is None:
            return
        came, went = folder / change.came, folder / change.went
        if change.came and change.went:
            came.rename(went)
        elif change.came:
            shutil.rmtree(came) if came.is_dir() else came.unlink(missing_ok=True)
        if change.backup is not None:
            os.link(change.backup, came if change.came else went)
        elif change.inode:
            went.mkdir()
            again[change.inode] = went.stat().st_ino


def mixed(held: bytes, written: bytes, random: Random) -> bytes:
    """Return a possible content after the cut: part of the durable and of the new bytes."""
    if not written.startswith(held):
        return random.choice([held, written, written[: len(written) // 2]])
    end = random.randint(len(held), len(written))
    zeros = random.choice([0, len(written) - end])
    return written[:end] + bytes(zeros)
