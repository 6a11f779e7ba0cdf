"""Mount a small file system on the folder given, fill it with checkpoints, make it read-only.

Called in a process with mounts of its own.
"""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from bptrain.errors import StorageError
from bptrain.rundir.checkpoint import list_checkpoints, newest_valid, write_checkpoint
from bptrain.rundir.run_lock import locked
from bptrain.rundir.training_state import TrainingState


def free_bytes(folder: Path) -> int:
    """Return the room left in a file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_bsize


def state_of(step: int) -> TrainingState:
    """Return a state of 40 kB, its file a little more than a page beyond."""
    return TrainingState(step, {"model": {"w": torch.full((10_000,), float(step))}})


def main(name: str) -> None:
    """Save until the disk is full; what was saved stays, and the room of the failed one is back."""
    folder = Path(name)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], check=True)
    step = 1
    while (room := free_bytes(folder)) > 50_000:
        write_checkpoint(folder, state_of(step))
        step += 1
    assert step > 5
    with pytest.raises(StorageError, match="No space left"):
        write_checkpoint(folder, state_of(step))
    assert free_bytes(folder) == room
    assert list_checkpoints(folder) == sorted(folder.iterdir())
    path, state, errors = newest_valid(folder)
    assert (state.step, errors) == (step - 1, [])

    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with pytest.raises(StorageError, match="Read-only"):
        write_checkpoint(folder, TrainingState(step, {"model": {}}))
    with pytest.raises(StorageError, match="Read-only"), locked(folder):
        pass
    assert newest_valid(folder)[0] == path
