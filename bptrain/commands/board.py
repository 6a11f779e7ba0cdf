"""`board`: TensorBoard on a folder of runs, each named by its own folder.

TensorBoard names what it shows by the folder of the event file, which is `digits-mlp/tensorboard`.
Here it looks into a folder of links, `digits-mlp` to that one, which follows the runs as they come
and go.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bptrain.errors import StorageError, UsageError
from bptrain.rundir.event_file import BOARD, event_files

FOLLOWED_EVERY_S = 5.0


class Links:
    """A folder of links, named by the runs, to their event files' folders."""

    def __init__(self, runs: Path, folder: Path) -> None:
        self.runs, self.folder = runs.resolve(), folder
        self.made: dict[Path, Path] = {}  # from the link to where it leads

    def follow(self) -> int:
        """Add the runs that are new and remove those that are gone; return how many there are."""
        found = {self.folder / name: board for name, board in boards_in(self.runs)}
        for link in self.made.keys() - found.keys():
            link.unlink()
        for link in sorted(found.keys() - self.made.keys()):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(found[link], target_is_directory=True)
        self.made = found
        return len(found)


def boards_in(runs: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the event files' folder of each run at or below a folder."""
    for place, folders, _ in os.walk(runs):
        path = Path(place)
        board = path / BOARD
        if BOARD in folders:
            folders.clear()  # a run holds no runs
            with suppress(OSError):  # removed at this moment, or not to be read
                if event_files(board):
                    yield str(path.relative_to(runs)) if path != runs else path.name, board


def board(runs: Path, host: str | None, port: int | None, console: Console) -> None:
    """Serve TensorBoard until a signal stops it; raises UsageError where it cannot start."""
    if not runs.is_dir():
        raise UsageError(f"{runs}: not a folder", hint="the folder of your runs, or that of one")
    with TemporaryDirectory(prefix="bptrain-board-") as name:
        links = Links(runs, Path(name))
        try:
            count = links.follow()
            url = serve(name, runs, host, port)
            console.print(f"{count} runs of {runs} at {url} (Ctrl-C ends it)", highlight=False)
            while True:
                time.sleep(FOLLOWED_EVERY_S)
                links.follow()
        except OSError as error:
            raise StorageError.refused(Path(name), error) from error


def serve(folder: str, runs: Path, host: str | None, port: int | None) -> str:
    """Start TensorBoard in a thread and return its URL, or raise UsageError."""
    from tensorboard.program import TensorBoard, TensorBoardServerException

    chosen = {"host": host, "port": port}
    words = [f"--{option}={value}" for option, value in chosen.items() if value is not None]
    server = TensorBoard()
    server.configure(["tensorboard", f"--logdir={folder}", f"--window_title={runs}", *words])
    try:
        url: str = server.launch()
    except TensorBoardServerException as error:
        raise UsageError("TensorBoard cannot start", error.msg, "another --port") from error
    return url
