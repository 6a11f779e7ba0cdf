"""A run writes into its own folder: links to folders are followed, links to files never."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_files import CONFIGS
from typer.testing import Result

from bptrain.data.batches import Batches
from bptrain.errors import StorageError
from bptrain.rundir.checkpoint import list_checkpoints

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


REPLACED = ("config.yaml", "environment.json", ".unfinished-config.yaml")
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
    assert result.exit_code == 5
    assert "a link" in result.stderr
    after = {path: path.read_bytes() for path in Path("outside").rglob("*") if path.is_file()}
    assert after == before


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
