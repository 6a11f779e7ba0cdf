"""Where the data is that a config or a command line names, and whether it can be read.

~ and $VARIABLES are expanded. A relative path is looked up in the current folder, then in the
config's own.
"""

import os
import stat
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from bptrain.errors import DataError


def located(given: str, folder: Path | None = None) -> Path:
    """Return the path that a text names, in `folder` if there is none in the current one."""
    path = Path(os.path.expandvars(given))
    if given.startswith("~"):
        path = Path(os.path.expanduser(path))  # noqa: PTH111  pathlib's raises without a home
    if folder is None or path.is_absolute() or os.path.lexists(path):
        return path
    beside = folder / path
    return beside if os.path.lexists(beside) else path


def _located(given: str, info: ValidationInfo) -> str:
    """Return a config's path, looked up beside the config where its folder is known."""
    folder = (info.context or {}).get("folder")
    if "\0" in given:
        return given  # which is refused where it is read
    found = str(located(given, folder))
    return given if Path(given) == Path(found) else found


DataPath = Annotated[str, Field(min_length=1), AfterValidator(_located)]


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
