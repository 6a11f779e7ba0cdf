"""Where the files are that a config or a command line names.

~ and $VARIABLES are expanded. A relative path is looked up in the current folder, then in the
config's own.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo


def located(given: str, folder: Path | None = None) -> Path:
    """Return the path that a text names, in `folder` if there is none in the current one."""
    path = Path(os.path.expandvars(given))
    if given.startswith("~"):
        path = Path(os.path.expanduser(path))  # noqa: PTH111  pathlib's raises without a home
    if folder is None or path.is_absolute() or os.path.lexists(path):
        return path
    beside = folder / path
    return beside if os.path.lexists(beside) else path


def located_for_config(given: str, info: ValidationInfo) -> str:
    """Return a config's path, looked up beside the config where its folder is known."""
    folder = (info.context or {}).get("folder")
    if "\0" in given:
        return given  # which is refused where it is read
    found = str(located(given, folder))
    return given if Path(given) == Path(found) else found


DataPath = Annotated[str, Field(min_length=1), AfterValidator(located_for_config)]
