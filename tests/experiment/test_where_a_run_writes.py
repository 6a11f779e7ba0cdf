"""A run writes into its own folder: links to folders are followed, links to files never."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_files import CONFIGS
from typer.testing import Result

from bptrain.data.batches import Batches
from bptrain.errors import StorageError
from bptrain.rundir.checkpoint import list_checkpoints
from bptrain.rundir.event_file import PREFIX

Bptrain = Callable[..., Result]
SMALL = [
    CONFIGS / "digits_mlp.yaml",
    "model.hidden=[8]",
    "data.batch_size=400",
    "monitor.log_every=2",
]
SHORT, LONGER = [*SMALL, "train.steps=4"], [*SMALL, "train.steps=6"]


def succeed(result: Result) -> None:
    assert result.exit_code == 0, result.stderr


def test_a_runs_folder_may_be_a_link(bptrain: Bptrain) -> None:
    Path("disk").mkdir()
    Path("runs").symlink_to("disk")
    succeed(bptrain("fit", *SHORT, "name=mine"))
    assert Path("disk/mine/metrics.jsonl").is_file()
    succeed(bptrain("evaluate", "runs/mine"))
    succeed(bptrain("fit", *LONGER, "name=mine", "--resume"))
    assert [path.name for path in Path("disk").iterdir()] == ["mine"]


@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_a_checkpoints_folder_may_be_a_link(bptrain: Bptrain, command: str) -> None:
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    Path("run/checkpoints").rename("disk")
    Path("run/checkpoints").symlink_to(Path("disk").absolute())
    if command == "evaluate":
        succeed(bptrain("evaluate", "run"))
    else:
        succeed(bptrain("fit", *LONGER, "--run-dir", "run", "--resume"))
        assert list_checkpoints(Path("disk"))[-1].name == "step-000006"
    assert Path("run/checkpoints").is_symlink()


def test_a_run_directory_may_be_a_link(bptrain: Bptrain) -> None:
    Path("disk").mkdir()
    Path("run").symlink_to("disk")
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    succeed(bptrain("fit", *LONGER, "--run-dir", "run", "--resume"))
    assert Path("run").is_symlink()


REPLACED = ("config.yaml", "environment.json", "report.html", ".unfinished-config.yaml")
REFUSED = ("metrics.jsonl", "lock")


@pytest.mark.parametrize("name", [*REPLACED, *REFUSED])
def test_no_file_outside_is_written_through_a_link(bptrain: Bptrain, name: str) -> None:
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    link, outside = Path("run", name), Path("outside").absolute()
    if link.exists():
        shutil.copy(link, outside)
        link.unlink()
    else:
        outside.write_text("mine")
    before = outside.read_bytes()
    link.symlink_to(outside)
    result = bptrain("fit", *LONGER, "--run-dir", "run", "--resume")
    assert outside.read_bytes() == before
    assert result.exit_code == (5 if name in REFUSED else 0), result.stderr
    if name in REPLACED:
        assert not link.is_symlink()


@pytest.mark.parametrize("place", ["tensorboard", "pictures", "pictures/step-000004"])
def test_no_folder_outside_is_written_through_a_link(bptrain: Bptrain, place: str) -> None:
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    folder = Path("run", place)
    folder.rename("outside")
    folder.symlink_to(Path("outside").absolute())
    before = {path: path.read_bytes() for path in Path("outside").rglob("*") if path.is_file()}
    words = ["fit", *LONGER, "--run-dir", "run", "--resume"] if place == "tensorboard" else None
    result = bptrain(*(words or ["evaluate", "run"]))
    assert result.exit_code == (5 if place == "tensorboard" else 0)  # pictures are an addition
    assert "a link" in result.stderr
    after = {path: path.read_bytes() for path in Path("outside").rglob("*") if path.is_file()}
    assert after == before


def planted(folder: Path, outside: Path, how: str) -> None:
    """Take the names of the event files that a process could open now or in the next seconds."""
    for second in range(int(time.time()), int(time.time()) + 5):
        name = f"{PREFIX}{second:010d}.{socket.gethostname()}.{os.getpid()}"
        if not (folder / name).exists():  # the first run's own file, opened in this second
            PLANTED[how](folder / name, outside)


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "symlink": Path.symlink_to,
    "hard link": Path.hardlink_to,
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
}


@pytest.mark.parametrize("how", PLANTED)
def test_an_event_file_is_never_one_that_is_there(bptrain: Bptrain, how: str) -> None:
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    outside = Path("outside").absolute()
    outside.write_text("mine")
    planted(Path("run/tensorboard"), outside, how)
    result = bptrain("fit", *LONGER, "--run-dir", "run", "--resume")
    assert outside.read_text() == "mine"
    succeed(result)
    newest = max(Path("run/tensorboard").iterdir())
    assert newest.stat().st_nlink == 1
    assert "train/loss" in newest.read_bytes().decode("latin1")


def test_a_resumed_run_leaves_a_backup_of_hard_links_alone(bptrain: Bptrain) -> None:
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    shutil.copytree("run", "backup", copy_function=os.link)  # as cp -al does
    before = {path: path.read_bytes() for path in Path("backup").rglob("*") if path.is_file()}
    succeed(bptrain("fit", *LONGER, "--run-dir", "run", "--resume"))
    assert {
        path: path.read_bytes() for path in Path("backup").rglob("*") if path.is_file()
    } == before
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 6]


@pytest.mark.parametrize("name", ["environment.json", "error.log", "metrics.jsonl"])
def test_a_folder_in_place_of_a_file_is_named_with_what_to_do(bptrain: Bptrain, name: str) -> None:
    succeed(bptrain("fit", *SHORT, "--run-dir", "run"))
    Path("run", name).unlink(missing_ok=True)
    Path("run", name).mkdir()
    result = bptrain("fit", *LONGER, "--run-dir", "run", "--resume")
    assert result.exit_code == StorageError.exit_code
    assert f"run/{name}: cannot be written" in result.stderr
    assert "move away what is there" in result.stderr
    assert "free space" not in result.stderr


@pytest.mark.parametrize(
    "error", [PermissionError(13, "no"), OSError(5, "Input/output error"), TimeoutError("slow")]
)
def test_an_os_error_of_the_data_is_not_a_storage_error(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(*_: object) -> Iterator[object]:
        raise error

    monkeypatch.setattr(Batches, "epoch", fail)
    result = bptrain("fit", *SHORT, "--run-dir", "run")
    assert result.exit_code != StorageError.exit_code
    assert "free space" not in result.stderr
    assert (type(error).__name__) in Path("run/error.log").read_text()


def test_what_the_disk_refuses_of_the_log_names_the_file(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bptrain.rundir.appended_file.write_all", full)
    result = bptrain("fit", *SHORT, "--run-dir", "run")
    assert result.exit_code == StorageError.exit_code
    assert "run/tensorboard/events" in result.stderr
