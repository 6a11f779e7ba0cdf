"""The TensorBoard files of a killed and resumed run are those of an uninterrupted one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bptrain.errors import CheckpointError, StorageError
from bptrain.monitor.tensorboard import Board
from bptrain.rundir.event_file import PREFIX
from bptrain.tasks.task import ResultFigure

PICTURE = np.zeros((4, 5, 3), np.uint8)
ALL = {"scalars": 0, "images": 0, "tensors": 0}
MATRIX = ResultFigure("confusion", PICTURE, [["true", "a"], ["a", "1"]])
Position = dict[str, int]


def opened(directory: Path, position: Position | None = None, step: int = 0) -> Board:
    return Board(directory, "name: x\n", {"optimizer.lr": 0.1}, ["accuracy"], position, step)


def write_steps(board: Board, steps: range) -> None:
    for step in steps:
        board.write(step, {"train/loss": 1 / step, "grad/total": float(step)})
        if step % 2 == 0:
            board.write_figures(step, "val", [MATRIX])
            board.write_text(step, "sample", f"written at {step}")


def run(directory: Path, steps: range, position: Position | None = None) -> Position:
    """Write the steps and return the position after them."""
    with opened(directory, position, steps.start - 1) as board:
        write_steps(board, steps)
        return board.position()


def read(directory: Path) -> dict[str, Any]:
    """Return everything on the board by tag: values by step, in order."""
    board = EventAccumulator(str(directory), ALL)
    board.Reload()
    return contents(board)


def contents(board: EventAccumulator) -> dict[str, Any]:
    tags = board.Tags()
    scalars = {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in tags["scalars"]}
    images = {
        tag: [(e.step, e.encoded_image_string) for e in board.Images(tag)] for tag in tags["images"]
    }
    tensors = {
        tag: [(e.step, e.tensor_proto.SerializeToString()) for e in board.Tensors(tag)]
        for tag in tags["tensors"]
    }
    return {**scalars, **images, **tensors}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    """Return the contents of a board that was never interrupted."""
    run(tmp_path / "whole", range(1, 13))
    held = read(tmp_path / "whole")
    assert [step for step, _ in held["train/loss"]] == list(range(1, 13))
    assert len(held["config/text_summary"]) == len(held["custom_scalars__config__"]) == 1
    assert len(held["val/confusion"]) == len(held["sample/text_summary"]) == 6
    return held


def test_repeated_resumes_leave_no_difference(tmp_path: Path, whole: dict[str, Any]) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    for first in (5, 7, 9):
        run(directory, range(first, first + 4), position)  # killed after a checkpoint
        run(directory, range(first, first + 1), position)  # and again, earlier
        position = run(directory, range(first, first + 2), position)
    run(directory, range(11, 13), position)
    assert read(directory) == whole
    # the first, one for each resume that counts, and others that are cut to nothing
    assert sum(path.stat().st_size > 0 for path in directory.iterdir()) == 5


def test_a_kill_in_mid_write_leaves_no_torn_record(tmp_path: Path, whole: dict[str, Any]) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    run(directory, range(5, 9), position)
    for path in directory.iterdir():
        path.write_bytes(path.read_bytes()[:-7])
        if path.name in position:
            path.write_bytes(path.read_bytes() + b"x" * 20)
    # what the checkpoint does not count may be torn in any way; what it counts was on the disk
    (first,) = position
    run(tmp_path / "again", range(1, 5))
    (valid,) = (tmp_path / "again").iterdir()
    (directory / first).write_bytes(valid.read_bytes() + b"torn")
    run(directory, range(5, 13), position)
    assert read(directory) == whole


def test_a_running_tensorboard_drops_the_removed_events(
    tmp_path: Path, whole: dict[str, Any]
) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    run(directory, range(5, 9), position)
    board = EventAccumulator(str(directory), ALL)
    board.Reload()
    assert len(board.Scalars("train/loss")) == 8
    run(directory, range(5, 13), position)
    board.Reload()
    forgotten = {tag: held for tag, held in contents(board).items() if "text" not in tag}
    assert forgotten.keys() >= {"train/loss", "val/confusion"}
    for tag, held in forgotten.items():  # texts are shown twice until it is started again
        assert held == whole[tag]


def test_a_position_counts_what_is_written_and_all_files(tmp_path: Path) -> None:
    directory = tmp_path / "board"
    first = run(directory, range(1, 5))
    with opened(directory, first, 4) as board:
        write_steps(board, range(5, 8))
        second = board.position()
    assert second == {path.name: path.stat().st_size for path in directory.iterdir()}
    assert first.items() < second.items()


def test_files_are_read_in_the_order_they_were_written_in_even_if_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Any]
) -> None:
    directory, position = tmp_path / "board", None
    for clock, steps in enumerate((range(1, 5), range(5, 9), range(9, 13))):
        monkeypatch.setattr("time.time", lambda now=2e9 - 1000 * clock: now)
        position = run(directory, steps, position)
    assert list(position or ()) == sorted(position or ())
    assert read(directory) == whole


@pytest.mark.parametrize("lost", [7, 10**6])
def test_missing_bytes_are_reported_and_the_rest_is_read(tmp_path: Path, lost: int) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    (path,) = directory.iterdir()
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: max(0, size - lost)])
    with opened(directory, position, 4) as board:
        assert board.missing_bytes == min(lost, size)
        write_steps(board, range(5, 7))
    steps = [step for step, _ in read(directory)["train/loss"]]
    assert steps == ([1, 2, 3, 4, 5, 6] if lost == 7 else [5, 6])


def test_an_emptied_directory_is_started_again(tmp_path: Path) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    for path in directory.iterdir():
        path.unlink()
    run(directory, range(5, 7), position)
    held = read(directory)
    assert [step for step, _ in held["train/loss"]] == [5, 6]
    assert len(held["config/text_summary"]) == 1


@pytest.mark.parametrize(
    "name",
    ["../../x", "../outside", "/etc/passwd", "..", "", f"{PREFIX}1.x/../../outside", "mine.txt"],
)
def test_a_position_from_elsewhere_touches_nothing(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    run(directory, range(5, 7), position)
    mine, outside = directory / "mine.txt", tmp_path / "outside"
    mine.write_text("of the user")
    outside.write_text("of somebody else")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(CheckpointError, match="names no event file") as caught:
        opened(directory, {**position, name: 3}, 4)
    assert caught.value.exit_code == 4
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert outside.read_text() == "of somebody else"


def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    directory, outside = tmp_path / "board", tmp_path / "outside"
    position = run(directory, range(1, 5))
    outside.write_text("of somebody else")
    link = directory / f"{PREFIX}9.x"
    link.symlink_to(outside)
    with pytest.raises(CheckpointError, match="names no event file"):
        opened(directory, {**position, link.name: 3}, 4)
    run(directory, range(5, 7), position)
    assert outside.read_text() == "of somebody else"


@pytest.mark.parametrize("size", [-1, 1.5, "7", None, True])
def test_an_invalid_size_is_refused(tmp_path: Path, size: Any) -> None:
    directory = tmp_path / "board"
    (name,) = run(directory, range(1, 5))
    with pytest.raises(CheckpointError, match="size of"):
        opened(directory, {name: size}, 4)
    assert len(read(directory)["train/loss"]) == 4


def test_other_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "board"
    position = run(directory, range(1, 5))
    (directory / "mine.txt").write_text("of the user")
    (directory / f"{PREFIX}of the user").write_text("no event file: it names no second")
    run(directory, range(5, 7), position)
    assert len(list(directory.iterdir())) == 4


FULL = """
import resource, sys
from pathlib import Path
from bptrain.errors import StorageError
from bptrain.monitor.tensorboard import Board

try:
    with Board(Path(sys.argv[1]), "name: x\\n", {}, []) as board:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        for step in range(1, 1000):
            board.write(step, {"train/loss": 0.5})
except StorageError as error:
    print(step, error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_ends_in_a_storage_error_only(tmp_path: Path) -> None:
    words = [sys.executable, "-c", FULL, str(tmp_path / "board")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 5
    assert len(ended.stderr.splitlines()) == 3  # without a traceback from another thread
    assert "cannot be written" in ended.stderr
    failed = int(ended.stderr.split()[0])
    steps = [step for step, _ in read(tmp_path / "board")["train/loss"]]
    assert steps == list(range(1, failed))


def test_a_board_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        opened(tmp_path / "file" / "board")
