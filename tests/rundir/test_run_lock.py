"""One process per run directory, and none locked out by the dead."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bptrain.errors import RunInUseError, StorageError
from bptrain.rundir.run_lock import locked, owner_of

HOLD = """
import sys
from pathlib import Path
from bptrain.rundir.run_lock import locked, owner_of
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock inside the block."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    words = [sys.executable, "-c", HOLD, str(run_dir)]
    with subprocess.Popen(words, text=True, env=environment, **pipes) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_starter_learns_who_holds_the_lock(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        with pytest.raises(RunInUseError, match=str(tmp_path)) as refused, locked(tmp_path):
            pass
        assert refused.value.exit_code == 9
        assert f"process {process.pid} on {os.uname().nodename}, since 2" in refused.value.why
        assert str(tmp_path) in refused.value.why  # its command line


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_locks_nobody_out(tmp_path: Path, number: signal.Signals) -> None:
    with other_process(tmp_path) as process:
        process.send_signal(number)
        process.wait()
        with locked(tmp_path):
            assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_one_process_holds_it_once_and_again_after(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path), pytest.raises(RunInUseError), locked(tmp_path):
            pass


def test_the_owners_line_is_whole_even_after_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("x" * 5000)
    with locked(tmp_path):
        lines = (tmp_path / "lock").read_text().splitlines()
    assert len(lines) == 1
    assert set(json.loads(lines[0])) == {"pid", "host", "started", "command"}


def test_a_program_started_by_the_owner_does_not_hold_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
    with child, locked(tmp_path):
        assert child.poll() is None
        child.kill()


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"{}", b"\x80\x04", b"[" * 4000, b'{"pid": 1, "host": "h", "started": "s"}'],
    ids=["empty", "list", "no owner", "pickle", "deep", "no command"],
)
def test_whatever_the_file_holds_the_second_starter_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    with locked(tmp_path):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(RunInUseError, match="another process") as refused, locked(tmp_path):
            pass
        assert "does not say which process" in refused.value.why


def test_an_owners_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    with locked(tmp_path):
        owner = {"pid": 1, "host": "\x1b[2J", "started": "\n\n", "command": "x" * 3000}
        (tmp_path / "lock").write_text(json.dumps(owner))
        with pytest.raises(RunInUseError) as refused, locked(tmp_path):
            pass
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match="cannot be locked") as refused, locked(tmp_path):
        pass
    assert "has no locks" in refused.value.why


def test_a_link_or_pipe_under_the_locks_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError), locked(tmp_path):
        pass
    assert (tmp_path / "outside").read_text() == "mine"
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(StorageError, match="not a regular file"), locked(tmp_path):
        pass


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="lock"), locked(tmp_path / "nowhere"):
        pass


def test_an_error_inside_the_block_passes_and_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_who_holds_a_lock_can_be_asked_without_taking_it(tmp_path: Path) -> None:
    assert owner_of(tmp_path) == ""
    assert not list(tmp_path.iterdir())
    with other_process(tmp_path) as process:
        assert owner_of(tmp_path).startswith(f"process {process.pid} on ")
    before = (tmp_path / "lock").read_bytes()
    assert owner_of(tmp_path) == ""
    assert (tmp_path / "lock").read_bytes() == before
    with locked(tmp_path):
        pass
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").mkdir()
    assert owner_of(tmp_path) == ""
