"""What counts as the file system's refusal, and what does not."""

from pathlib import Path

import pytest

from bptrain.errors import StorageError
from bptrain.rundir.durable_files import storing


def test_what_the_disk_refuses_names_the_path() -> None:
    with pytest.raises(StorageError, match="runs/mine"), storing(Path("runs/mine")):
        raise OSError(28, "No space left on device")


def test_a_closed_pipe_is_not_the_disks_fault() -> None:
    with pytest.raises(BrokenPipeError), storing(Path("runs/mine")):
        raise BrokenPipeError
