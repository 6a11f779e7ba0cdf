"""Whatever happens to the disk or the process, at any operation, a valid checkpoint is there."""

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checkpoints import is_valid, state_at
from faulty_disk import CHANGES, Fault, FaultyDisk, faulty_disk
from launcher import Launcher

from bptrain.errors import CheckpointError, StorageError
from bptrain.rundir.checkpoint import (
    list_checkpoints,
    newest_valid,
    prune,
    read_checkpoint,
    write_checkpoint,
)

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
SAVES = ((1, 0.5), (2, 0.1), (3, 0.4), (4, 0.3), (4, 0.2), (5, 0.6))  # step 4 twice: resumed there


def save_all(directory: Path, saves: tuple[tuple[int, float], ...] = SAVES) -> None:
    for step, loss in saves:
        prune(directory, 2, write_checkpoint(directory, state_at(step, loss)))


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def operations(folder: Path) -> int:
    """Return how many operations the whole sequence takes."""
    with faulty_disk("none") as disk:
        save_all(folder / "none" / "checkpoints")
    assert set(disk.operations) == set(CHANGES)
    return len(disk.operations)


def save_all_on(directory: Path, fault: Fault, at: int) -> FaultyDisk:
    """Save until the fault; a full disk must be reported, unless it only refused a removal."""
    with faulty_disk(fault, at) as disk:
        save_all(directory)
    assert len(disk.operations) > at
    assert disk.dead == (fault != "full disk")
    if not disk.dead and not disk.reported:
        assert disk.operations[at] in ("unlink", "rmdir")
        assert len(disk.finished) == len(SAVES)
    assert disk.reported in ("", "No space left on device")
    return disk


@pytest.mark.parametrize("fault", ["full disk", "kill", "power cut"])
def test_after_a_fault_at_any_operation_the_newest_finished_checkpoint_is_valid(
    tmp_path: Path, fault: Fault
) -> None:
    total = operations(tmp_path)
    assert total > 100
    for at in range(total):
        directory = tmp_path / str(at) / "checkpoints"
        disk = save_all_on(directory, fault, at)
        expected = disk.finished[:]
        if (
            fault == "power cut"
            and expected
            and any(new.name == expected[-1] for _, new in disk.renamed)
        ):
            expected.pop()  # its name was not synced
        if not expected:
            assert not [path for path in list_checkpoints(directory) if is_valid(path)]
            continue
        _, state, errors = newest_valid(directory)
        assert state.step == int(expected[-1][-6:]), at
        assert errors == [], at  # no incomplete checkpoint has a checkpoint's name
        assert all(is_valid(path) for path in list_checkpoints(directory)), at
        if fault == "full disk":
            assert not [name for name in names_in(directory) if name.startswith(".unfinished")], at


@pytest.mark.parametrize("fault", ["full disk", "kill", "power cut"])
def test_after_a_fault_at_any_operation_the_next_saves_leave_nothing_of_it(
    tmp_path: Path, fault: Fault
) -> None:
    for at in range(0, operations(tmp_path), 3):
        directory = tmp_path / str(at) / "checkpoints"
        save_all_on(directory, fault, at)
        with faulty_disk("none"):
            save_all(directory, ((6, 0.7), (7, 0.8)))
        names = names_in(directory)
        assert names[-2:] == ["step-000006", "step-000007"], at
        assert len(names) <= 3, at
        assert [path.name for path in list_checkpoints(directory)] == names


def test_what_is_removed_is_older_than_a_finished_name_that_the_disk_holds(
    tmp_path: Path,
) -> None:
    with faulty_disk("none") as disk:
        save_all(tmp_path, SAVES[:2])
        start = len(disk.operations)
        save_all(tmp_path, SAVES[2:3])
    order = disk.operations[start:]
    named = order.index("rename")
    assert order[named - 1] == "fsync"
    assert order[named + 1] == "fsync"
    assert set(order[:named]) == {"mkdir", "open", "write", "fsync"}
    assert order[:named].count("fsync") == len(FILES) + 1
    assert order[named + 2 :] == ["rename", "fsync", *["unlink"] * len(FILES), "rmdir"]


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    valid = path.read_bytes()
    path.write_bytes(content)
    yield
    path.write_bytes(valid)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_anywhere_is_found(tmp_path: Path, name: str) -> None:
    path = write_checkpoint(tmp_path, state_at(1, 0.5))
    content = (path / name).read_bytes()
    cuts = {len(content) * part // 64 for part in range(64)} | {len(content) - 1}
    for cut in cuts:
        with changed(path / name, content[:cut]), pytest.raises(CheckpointError):
            read_checkpoint(path)
    with changed(path / name, content + b"\n"), pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert read_checkpoint(path).step == 1


def flipped(content: bytes, bit: int) -> bytes:
    byte, place = divmod(bit, 8)
    return content[:byte] + bytes([content[byte] ^ 1 << place]) + content[byte + 1 :]


@pytest.mark.parametrize("name", FILES)
def test_a_bit_that_flips_is_found_in_every_file(tmp_path: Path, name: str) -> None:
    path = write_checkpoint(tmp_path, state_at(1, 0.5))
    content = (path / name).read_bytes()
    random.seed(0)
    bits = range(8 * len(content))
    chosen = random.sample(bits, 200)
    if name == "manifest.json":  # in every byte: nothing vouches for it but its own form
        chosen = [8 * byte + random.randrange(8) for byte in range(len(content))]
    for bit in chosen:
        with changed(path / name, flipped(content, bit)), pytest.raises(CheckpointError):
            read_checkpoint(path)
    assert read_checkpoint(path).step == 1


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1, 20, 100, 140])
def test_a_file_size_limit_is_a_storage_error_and_no_signal(tmp_path: Path, size: int) -> None:
    write_checkpoint(tmp_path, state_at(1))
    largest = max(path.stat().st_size for path in (tmp_path / "step-000001").iterdir())
    assert size < largest
    with largest_file(size), pytest.raises(StorageError, match="File too large"):
        write_checkpoint(tmp_path, state_at(2))
    assert names_in(tmp_path) == ["step-000001"]
    assert newest_valid(tmp_path)[1].step == 1


def test_a_full_or_read_only_file_system_is_a_storage_error(
    mounting: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    disk = str(tmp_path / "disk")
    assert mounting.run(["--version"], tmp_path, "save_on_small_disk:main", [disk]) == (0, "")
