"""Broken data files: exit 3 before the first step, with the file named, and nothing left behind."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_files import CONFIGS, idx_bytes, write_mnist

MNIST = CONFIGS / "mnist_mlp.yaml"
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"


def header(magic: bytes, *sizes: int) -> bytes:
    return magic + struct.pack(f">{len(sizes)}I", *sizes)


def some(samples: int, *shape: int) -> np.ndarray:
    return np.zeros((samples, *shape), np.uint8)


IDX3, IDX1 = bytes([0, 0, 8, 3]), bytes([0, 0, 8, 1])

# what is put under which name, and words that the error must hold
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty images": (IMAGES, b"", "bytes 0-3 are missing"),
    "half a header": (IMAGES, IDX3 + b"\0\0\0", "inside its header"),
    "a header alone": (IMAGES, header(IDX3, 200, 28, 28), "the file holds 0"),
    "one byte too few": (IMAGES, idx_bytes(some(200, 28, 28))[:-1], "the file holds 156,799"),
    "one byte too many": (IMAGES, idx_bytes(some(200, 28, 28)) + b"x", "the file holds more"),
    "wrong magic": (IMAGES, idx_bytes(some(200, 28, 28), b"\1\2\3\4"), "01 02 03 04"),
    "float elements": (IMAGES, idx_bytes(some(200, 28, 28), bytes([0, 0, 13, 3])), "00 00 0d 03"),
    "little-endian magic": (IMAGES, idx_bytes(some(200, 28, 28), IDX3[::-1]), "03 08 00 00"),
    "labels where images should be": (IMAGES, idx_bytes(some(200)), "3 dimensions"),
    "images where labels should be": (LABELS, idx_bytes(some(200, 28, 28)), "1 dimensions"),
    "images of 32 x 32": (IMAGES, idx_bytes(some(200, 32, 32)), "[200, 32, 32]"),
    "no image at all": (IMAGES, idx_bytes(some(0, 28, 28)), "[0, 28, 28]"),
    "a size bomb": (IMAGES, header(IDX3, 2**32 - 1, 2**16, 2**16), "too many to be real"),
    "fewer labels than images": (LABELS, idx_bytes(some(199)), "199 labels for 200 images"),
    "more labels than images": (LABELS, idx_bytes(some(201)), "201 labels for"),
    "a label of 10": (LABELS, idx_bytes(np.array([3] * 150 + [10] * 50)), "label 10 in row 150"),
    "a label of 255": (LABELS, idx_bytes(np.array([0] * 199 + [255])), "label 255 in row 199"),
    "no labels": (LABELS, idx_bytes(some(0)), "0 labels for"),
    "a text file": (IMAGES, b"not an image\n" * 20, "6e 6f 74 20"),
    "a PNG": (TEST_IMAGES, b"\x89PNG\r\n\x1a\n" + bytes(100), "89 50 4e 47"),
    "a broken test split": (TEST_IMAGES, idx_bytes(some(49, 28, 28)), "for 49 images"),
}


def assert_refused(result: object, root: Path, expected: str) -> None:
    assert result.exit_code == 3, result.output
    assert expected in result.stderr
    assert str(root) in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6
    assert "Traceback" not in result.stderr
    assert "step" not in result.stdout
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("zipped", [True, False], ids=["gzipped", "plain"])
def test_a_broken_file_is_refused(
    bptrain: Callable, tmp_path: Path, mnist_files: dict, name: str, zipped: bool
) -> None:
    file_name, content, expected = BROKEN[name]
    root = write_mnist(tmp_path / "root", mnist_files | {file_name: content}, zipped=zipped)
    assert_refused(bptrain("fit", MNIST, f"data.root={root}"), root, expected)


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "harm",
    [
        truncated,
        flipped,
        lambda content: content[:5],
        lambda content: content[:-4] + b"\0\0\0\0",  # the length that gzip checks
        lambda content: b"PK\3\4" + content,
        lambda content: gzip.decompress(content),  # plain bytes under a name that says .gz
    ],
    ids=["truncated", "one byte flipped", "5 bytes", "wrong length", "a zip's magic", "plain"],
)
def test_a_damaged_gzip_file_is_refused(
    bptrain: Callable, tmp_path: Path, mnist_files: dict, harm: Callable[[bytes], bytes]
) -> None:
    root = write_mnist(tmp_path / "root", mnist_files)
    path = root / "MNIST" / "raw" / f"{IMAGES}.gz"
    path.write_bytes(harm(path.read_bytes()))
    assert_refused(bptrain("fit", MNIST, f"data.root={root}"), root, str(path.name))


def test_a_directory_in_place_of_a_file_is_refused(
    bptrain: Callable, tmp_path: Path, mnist_files: dict
) -> None:
    root = write_mnist(tmp_path / "root", mnist_files, zipped=False)
    path = root / "MNIST" / "raw" / IMAGES
    path.unlink()
    path.mkdir()
    assert_refused(bptrain("fit", MNIST, f"data.root={root}"), root, "cannot be read")


def test_a_gzip_bomb_is_never_unpacked(
    bptrain: Callable, tmp_path: Path, mnist_files: dict
) -> None:
    root = write_mnist(tmp_path / "root", mnist_files)
    path = root / "MNIST" / "raw" / f"{IMAGES}.gz"
    bomb = header(IDX3, 200, 28, 28) + bytes(300_000_000)  # 300 MB behind a header of 157 kB
    path.write_bytes(gzip.compress(bomb, 1))
    assert_refused(bptrain("fit", MNIST, f"data.root={root}"), root, "the file holds more")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_size_that_the_file_cannot_hold_is_refused_before_it_is_allocated(
    bptrain: Callable, tmp_path: Path, mnist_files: dict, suffix: str
) -> None:
    root = write_mnist(tmp_path / "root", mnist_files, zipped=bool(suffix))
    bomb = header(IDX3, 10**6, 28, 28) + bytes(10**6)
    path = root / "MNIST" / "raw" / f"{IMAGES}{suffix}"
    path.write_bytes(gzip.compress(bomb) if suffix else bomb)
    expected = "784,000,000 elements are declared, the file has"
    assert_refused(bptrain("fit", MNIST, f"data.root={root}"), root, expected)


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("File not found")])
def test_a_download_that_fails_says_where_the_files_belong(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", fail)
    result = bptrain("fit", MNIST, f"data.root={tmp_path}")
    assert_refused(result, tmp_path, "could not be downloaded")
    assert "MNIST/raw" in result.stderr
