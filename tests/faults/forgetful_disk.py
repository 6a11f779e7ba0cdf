"""A disk that a power cut leaves as the standard allows: without what nobody had waited for.

Names     A folder's changes (a file made, renamed, removed) are held once the folder is synced. Of
          the later ones the first so many are held, none or all, each folder by itself.
Contents  A file's bytes are held once the file is synced. What was done to it later may be held,
          or not at all, or in part: an appended tail ends anywhere, or ends in zeros.
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

LOSES_ALL = 0.4  # of the power cuts: the worst, and what a kind disk never shows


@dataclass
class Change:
    """One of a folder's names: it came, it went, or another one took it.

    kept  a second name of the file that went by it, elsewhere
    """

    folder: int  # by inode: a folder may be renamed later
    came: str = ""
    went: str = ""
    kept: Path | None = None
    inode: int = 0  # of a folder that went


class ForgetfulDisk:
    """Is told of each operation before it is done, and can take back those not waited for."""

    def __init__(self, root: Path, kept_in: Path, real: Mapping[str, Callable[..., Any]]) -> None:
        self.root, self.kept_in, self.real = root, kept_in, real
        self.changes: list[Change] = []
        self.expected: Change | None = None
        self.contents: dict[int, bytes] = {}  # by inode: what the disk holds of a changed file
        self.kept = 0
        self.held_open: list[int] = []

    def expect(self, name: str, path: Path, target: Path | None, arguments: Sequence[Any]) -> None:
        """Be told that a name is about to be changed."""
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
            self.expected = Change(folder, went=path.name, kept=self.keep(path))
        elif name in ("rename", "replace"):
            assert target is not None
            assert target.parent == path.parent
            kept = self.keep(target) if target.exists() else None
            self.expected = Change(folder, target.name, path.name, kept)
        else:
            raise NotImplementedError(name)

    def settle(self) -> None:
        """Be told that it was done."""
        if self.expected is not None:
            self.changes.append(self.expected)

    def keep(self, path: Path) -> Path:
        """Give a file a second name before it loses its own."""
        self.kept += 1
        kept = self.kept_in / str(self.kept)
        os.link(path, kept)
        return kept

    def touch(self, name: str, descriptor: int) -> None:
        """Be told that an open file is about to be changed or synced."""
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
        """Leave on the disk what a power cut leaves."""
        for name, function in self.real.items():
            setattr(os, name, function)
        loses_all = random.random() < LOSES_ALL
        self.forget_names(random, loses_all)
        for path in self.root.rglob("*"):
            held = self.contents.get(path.stat().st_ino)
            if held is not None and path.is_file():
                path.write_bytes(held if loses_all else mixed(held, path.read_bytes(), random))

    def forget_names(self, random: Random, loses_all: bool) -> None:
        """Take back each folder's last changes."""
        by_folder: dict[int, list[Change]] = defaultdict(list)
        for each in self.changes:
            by_folder[each.folder].append(each)
        lost = []
        for changes in by_folder.values():
            lost += changes[0 if loses_all else random.randint(0, len(changes)) :]
        again: dict[int, int] = {}  # inodes of folders that came back by those that they had
        for change in reversed(self.changes):
            if any(change is each for each in lost):
                self.take_back(change, again)

    def take_back(self, change: Change, again: dict[int, int]) -> None:
        """Undo the change of a name, if its folder is there."""
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
        if change.kept is not None:
            os.link(change.kept, came if change.came else went)
        elif change.inode:
            went.mkdir()
            again[change.inode] = went.stat().st_ino


def mixed(held: bytes, written: bytes, random: Random) -> bytes:
    """Return what may be found of a file: some of what it held, and of what was written."""
    if not written.startswith(held):
        return random.choice([held, written, written[: len(written) // 2]])
    end = random.randint(len(held), len(written))
    zeros = random.choice([0, len(written) - end])
    return written[:end] + bytes(zeros)
