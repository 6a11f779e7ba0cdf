"""What several tests share: a command line in the process, and small data on disk."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from bptrain.cli import app

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture
def bptrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in an empty folder and return exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def idx_bytes(array: np.ndarray, magic: bytes | None = None) -> bytes:
    """Return an IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return header + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist_files() -> dict[str, bytes]:
    """Return small files in MNIST's format, by name."""
    random = np.random.default_rng(0)
    files = {}
    for prefix, samples in (("train", 200), ("t10k", 50)):
        labels = np.arange(samples) % 10
        images = random.integers(0, 100, (samples, 28, 28))
        images[np.arange(samples), labels * 2] += 150  # a bright row tells the class
        files[f"{prefix}-images-idx3-ubyte"] = idx_bytes(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(labels)
    return files


def write_mnist(
    root: Path, files: dict[str, bytes], name: str = "MNIST", zipped: bool = True
) -> Path:
    """Write the files in torchvision's layout below `root` and return `root`."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for file_name, content in files.items():
        path = raw / (f"{file_name}.gz" if zipped else file_name)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return root


@pytest.fixture
def bptrain_data() -> Path:
    """Return the folder of real data sets, or skip."""
    folder = os.environ.get("BPTRAIN_DATA")
    if not folder:
        pytest.skip("BPTRAIN_DATA does not name a folder of real data sets")
    return Path(folder)
