"""Whether the data can be read that a config or a command line names."""

import stat
from pathlib import Path

from bptrain.errors import DataError


def mode_of(path: Path) -> int:
    """Return the mode of what is at a path, 0 for nothing, or raise DataError.

    pathlib's own questions (`exists`, `is_file`) raise for a folder that may not be entered and for
    a name that is too long.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read", why) from error


def exists(path: Path) -> bool:
    """Return whether there is anything at a path, or raise DataError."""
    return mode_of(path) != 0


def is_directory(path: Path) -> bool:
    """Return whether there is a folder at a path, or raise DataError."""
    return stat.S_ISDIR(mode_of(path))


def missing(path: Path, expected: str = "") -> DataError:
    """Return the error for a path that leads nowhere, which says where it was looked for.

    expected  what the path should name
    """
    beside = "" if path.is_absolute() else "; a config's paths are also looked up beside it"
    return DataError(f"{path}: not found", f"there is no {Path.cwd() / path}{beside}", expected)


def refuse_unless_file(path: Path, expected: str) -> None:
    """Raise DataError unless a path leads to a regular file: a pipe or a device might never end.

    expected  what the path should name
    """
    mode = mode_of(path)
    if mode == 0:
        raise missing(path, expected)
    if not stat.S_ISREG(mode):
        found = "is a directory" if stat.S_ISDIR(mode) else "is no file"
        raise DataError(f"{path}: {found}", "", expected)
