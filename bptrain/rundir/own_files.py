"""What may stand in a run's folder under the names that runs write to: files and folders.

A link would let a run that goes on write over what lies elsewhere, and a pipe in the place of a
file would be waited for without end.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from bptrain.errors import CheckpointError

FILES = (
    "config.yaml",
    "environment.json",
    "error.log",
    "metrics.jsonl",
    "prepared.json",
    "sample.txt",
)
PICTURES = "pictures"
FOLDERS = ("checkpoints", PICTURES, "tensorboard")


def refuse_links_and_pipes(run_dir: Path) -> None:
    """Raise CheckpointError for a file or folder of a run that is something else.

    Checkpoints and event files are looked at by those who read and write them.
    """
    for path, is_folder in _own(run_dir):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read", error.strerror or "") from error
        if not (S_ISDIR(mode) if is_folder else S_ISREG(mode)):
            raise CheckpointError(
                f"{path}: not a {'folder' if is_folder else 'regular file'}",
                "it is neither opened nor followed",
                "move it away, and restore the run's own if it is needed",
            )


def _own(run_dir: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the paths that a run writes to, and whether each is a folder."""
    yield from ((run_dir / name, False) for name in FILES)
    yield from ((run_dir / name, True) for name in FOLDERS)
    for folder, folders, files in os.walk(run_dir / PICTURES):
        yield from ((Path(folder) / name, True) for name in folders)
        yield from ((Path(folder) / name, False) for name in files)
