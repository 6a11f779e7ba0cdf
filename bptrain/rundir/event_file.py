"""TensorBoard's event files, written record by record, and truncated by a run that is resumed.

torch's SummaryWriter writes in a thread of its own: its position in the file is unknown, and a
full disk is only printed as that thread's traceback. Here the record is stored when `add` returns.
"""

import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from bptrain.errors import CheckpointError
from bptrain.rundir.appended_file import AppendedFile, truncate
from bptrain.rundir.durable_files import make_own_directory, storing

BOARD = "tensorboard"  # the folder of a run that holds them
PREFIX = "events.out.tfevents."
NAME = re.compile(re.escape(PREFIX) + r"(\d{1,18})\.[^/\0]*")  # the second that it was opened in


class EventFile:
    """A new event file.

    purge_step  a running TensorBoard discards what it has read of this step and later ones
    """

    def __init__(self, path: Path, purge_step: int | None = None) -> None:
        with storing(path.parent):
            make_own_directory(path.parent)
        self._file = AppendedFile(path, is_new=True)
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(step=purge_step, session_log=start))

    def add(self, summary: Summary, step: int = 0) -> None:
        """Append a summary of a step."""
        self._write(Event(step=step, summary=summary))

    def add_graph(self, graph: GraphDef) -> None:
        """Append the graph of the model."""
        self._write(Event(graph_def=graph.SerializeToString()))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())

    def position(self) -> int:
        """Return the size in bytes, once they are on disk."""
        return self._file.position()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def event_files(directory: Path) -> dict[str, Path]:
    """Return the event files of a directory by name, in TensorBoard's order.

    Links, folders and pipes with such a name are left out.
    """
    return {
        path.name: path
        for path in sorted(directory.glob("*"))
        if NAME.fullmatch(path.name) and S_ISREG(path.lstat().st_mode)
    }


def next_path(directory: Path) -> Path:
    """Return the path of a new event file, which TensorBoard reads after the existing ones.

    TensorBoard reads files in the order of their names, and never returns to an earlier name. So
    the order must not depend on two starts in one second or on a clock that was set back. Links
    and folders with such a name count too: the new name is never one that is taken.
    """
    names = (NAME.fullmatch(path.name) for path in directory.glob("*"))
    second = max([int(time.time()), *(int(name[1]) + 1 for name in names if name)])
    return directory / f"{PREFIX}{second:010d}.{socket.gethostname()}.{os.getpid()}"


def truncate_events(directory: Path, position: Mapping[str, int]) -> int:
    """Truncate the event files to their sizes in `position`, and all others to 0 bytes.

    The others are not removed: a TensorBoard that is reading one would not continue with the next.
    Returns how many bytes are missing. Raises CheckpointError, before anything is changed, for a
    position that does not name files of this directory.
    """
    for name, size in position.items():
        if not NAME.fullmatch(name) or (directory / name).is_symlink():
            raise CheckpointError(f"{name!r} in the checkpoint names no event file of {directory}")
        if type(size) is not int or size < 0:
            raise CheckpointError(f"the checkpoint's size of {name} is not a number of bytes")
    with storing(directory):
        make_own_directory(directory)
    for name, path in event_files(directory).items():
        if name not in position:
            truncate(path, 0)
    return sum(truncate(directory / name, size) for name, size in position.items())
