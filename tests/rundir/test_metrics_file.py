"""`metrics.jsonl`: one flat JSON object a line, and a resumed run's lines in place of lost ones."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from bptrain.errors import CheckpointError, StorageError
from bptrain.rundir.metrics_file import MetricsFile, read_lines


def lines_of(path: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def write_steps(path: Path, steps: range, **resumed: Any) -> int:
    """Write a line for each step and return the position."""
    with MetricsFile(path, **resumed) as metrics:
        for step in steps:
            metrics.write(step, 0, {"train/loss": 1 / step})
        return metrics.position()


def test_lines_after_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    offset = write_steps(path, range(1, 4))
    assert offset == path.stat().st_size
    write_steps(path, range(4, 9), offset=offset)
    with path.open("ab") as file:
        file.write(b'{"step": 9, "ep')  # killed in mid write
    with MetricsFile(path, offset) as metrics:
        assert metrics.missing_bytes == 0
        metrics.write(4, 0, {"train/loss": 0.25})
    assert [line["step"] for line in lines_of(path)] == [1, 2, 3, 4]


def test_a_file_without_an_offset_is_new_and_an_existing_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 3))
    with pytest.raises(StorageError, match="cannot be written"):
        MetricsFile(path)
    assert [line["step"] for line in lines_of(path)] == [1, 2]


def test_a_line_can_be_read_before_anything_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as metrics:
        metrics.write(1, 0, {"train/loss": 1.0})
        assert len(lines_of(path)) == 1


@pytest.mark.parametrize("lost", [1, 30, 10_000])
def test_missing_bytes_are_counted_and_a_partial_line_is_removed(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "metrics.jsonl"
    offset = write_steps(path, range(1, 4))
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(path.read_bytes()[: max(0, offset - lost)])
    left = len(path.read_bytes().splitlines(keepends=True)) - 1 if lost < offset else 0
    with MetricsFile(path, offset) as metrics:
        assert metrics.missing_bytes == sum(map(len, whole[left:]))
        metrics.write(4, 0, {})
    assert [line["step"] for line in lines_of(path)] == [*range(1, left + 1), 4]


def test_all_bytes_of_a_missing_file_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path, 120) as metrics:
        assert metrics.missing_bytes == 120
        metrics.write(4, 0, {})
    assert len(lines_of(path)) == 1


@pytest.mark.parametrize("offset", [-1, 2.5, "3", True])
def test_an_invalid_offset_changes_nothing(tmp_path: Path, offset: Any) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 4))
    with pytest.raises(CheckpointError, match=r"position in metrics\.jsonl"):
        MetricsFile(path, offset)
    assert len(lines_of(path)) == 3


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as metrics:
        metrics.write(1, 0, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 2.0})
    (line,) = lines_of(path)
    assert {name: line[name] for name in "abcd"} == {"a": None, "b": None, "c": None, "d": 2.0}


def test_the_clock_continues_from_the_saved_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as metrics:
        first = metrics.elapsed_s
        metrics.write(1, 0, {})
        assert first <= lines_of(path)[0]["time_s"] + 1e-3
    with MetricsFile(path, 0, elapsed_s=3600.0) as metrics:
        assert metrics.elapsed_s > 3600
        metrics.write(1, 0, {})
    assert lines_of(path)[0]["time_s"] >= 3600


def write_many(metrics: MetricsFile) -> None:
    for step in range(100):
        metrics.write(step, 0, {"train/loss": 0.5})


def test_a_full_disk_ends_in_a_storage_error_and_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with MetricsFile(path) as metrics:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be written"):
                write_many(metrics)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    steps = [line["step"] for line in lines_of(path)]
    assert steps == list(range(len(steps)))
    assert len(steps) > 3


def test_a_file_that_is_removed_while_it_is_written_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as metrics:
        metrics.write(1, 0, {"train/loss": 1.0})
        path.unlink()
        with pytest.raises(StorageError, match="was removed"):
            metrics.write(2, 0, {"train/loss": 1.0})
        with pytest.raises(StorageError, match="was removed"):
            metrics.position()
    assert not path.exists()


def test_damaged_lines_are_counted_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = b'{"step": 1}\nno json\n{"step": 2, "a": "\xc3\xa9\xe2\x80\xa8"}\n{"step": 1e3}\n\n'
    path.write_bytes(whole + b'{"step": -1}\n{"step": 1' + b"0" * 400 + b'}\n{"step": 3}\n{"st')
    lines = read_lines(path)
    assert lines.read == [{"step": 1}, {"step": 2, "a": "\u00e9\u2028"}, {"step": 3}]
    assert lines.damaged == [2, 4, 5, 6, 7]
    path.write_bytes(b"")
    assert read_lines(path) == ([], [])


@pytest.mark.parametrize("how", ["missing", "a folder", "a pipe", "a link"])
def test_what_is_no_file_is_not_read(tmp_path: Path, how: str) -> None:
    path = tmp_path / "metrics.jsonl"
    if how == "a folder":
        path.mkdir()
    elif how == "a pipe":  # reading it would wait for ever
        os.mkfifo(path)
    elif how == "a link":
        path.symlink_to(__file__)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl"):
        read_lines(path)
