"""What counts as the file system's refusal, what does not, and what a refusal leaves."""

import errno
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bptrain.errors import StorageError
from bptrain.rundir.durable_files import replace_file, storing


def test_what_the_disk_refuses_names_the_path() -> None:
    with pytest.raises(StorageError, match="runs/mine"), storing(Path("runs/mine")):
        raise OSError(28, "No space left on device")


def test_a_closed_pipe_is_not_the_disks_fault() -> None:
    with pytest.raises(BrokenPipeError), storing(Path("runs/mine")):
        raise BrokenPipeError


@pytest.mark.parametrize("refused", ["os.write", "os.fsync", "pathlib.Path.replace"])
def test_a_file_that_cannot_be_replaced_stays_and_no_copy_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "error.log").write_bytes(b"old")
    monkeypatch.setattr(refused, refuse)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "error.log", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"error.log": b"old"}


def test_what_a_killed_run_left_unfinished_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-error.log").write_bytes(b"ne")
    replace_file(tmp_path / "error.log", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"error.log": b"new"}
