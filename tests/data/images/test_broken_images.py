"""Broken images and CIFAR files: exit 3 before the first step, and nothing in them is ever run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_images import BINARIES, FOLDERS, PICKLES
from image_sets import write_cifar10, write_folder
from small_files import CONFIGS

from bptrain.data.images.image_folder import ImageFolderConfig
from bptrain.errors import DataError


def assert_refused(result: object, root: Path, expected: str) -> None:
    assert result.exit_code == 3, result.output
    assert expected in result.stderr
    assert str(root) in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6
    assert "Traceback" not in result.stderr
    assert not Path("runs").exists()


def test_the_corpus_is_large_enough() -> None:
    assert len(FOLDERS) >= 30


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_with_a_broken_file_is_refused(
    bptrain: Callable, tmp_path: Path, name: str
) -> None:
    harm, expected = FOLDERS[name]
    root = write_folder(tmp_path / "root")
    harm(root)
    result = bptrain("fit", CONFIGS / "image_folder_mlp.yaml", f"data.root={root}")
    assert_refused(result, root, expected)


@pytest.mark.parametrize("name", ["a JPEG cut short", "a bomb", "a PNG with a wrong checksum"])
def test_a_set_larger_than_memory_is_checked_as_well(tmp_path: Path, name: str) -> None:
    harm, expected = FOLDERS[name]
    root = write_folder(tmp_path / "root")
    harm(root)
    with pytest.raises(DataError, match=expected):
        ImageFolderConfig(root=str(root), memory_bytes=0).build(0)


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    root = write_folder(tmp_path / "root")
    (root / "cat" / "000.png").chmod(0)
    with pytest.raises(DataError, match=r"000\.png: cannot be read"):
        ImageFolderConfig(root=str(root)).build(0)


def test_a_folder_that_is_not_there_is_refused(bptrain: Callable, tmp_path: Path) -> None:
    result = bptrain("fit", CONFIGS / "image_folder_mlp.yaml", f"data.root={tmp_path / 'gone'}")
    assert_refused(result, tmp_path, "not found")


@pytest.mark.parametrize("name", PICKLES)
def test_a_broken_or_hostile_pickle_is_refused_and_never_run(
    bptrain: Callable, tmp_path: Path, name: str
) -> None:
    content, expected = PICKLES[name]
    root = write_cifar10(tmp_path / "root", "python")
    (root / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    result = bptrain("fit", CONFIGS / "cifar10_mlp.yaml", f"data.root={root}")
    assert_refused(result, root, expected)
    assert not Path("called").exists()


@pytest.mark.parametrize("name", BINARIES)
def test_a_broken_binary_file_is_refused(bptrain: Callable, tmp_path: Path, name: str) -> None:
    content, expected = BINARIES[name]
    root = write_cifar10(tmp_path / "root")
    (root / "cifar-10-batches-bin" / "data_batch_2.bin").write_bytes(content)
    result = bptrain("fit", CONFIGS / "cifar10_mlp.yaml", f"data.root={root}")
    assert_refused(result, root, expected)
