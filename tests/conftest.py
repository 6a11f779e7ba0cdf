"""What several tests share: a command line in the process, and small data on disk."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_files import idx_bytes
from typer.testing import CliRunner, Result

from bptrain.cli import app


@pytest.fixture
def bptrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in an empty folder and return exit_code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


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


@pytest.fixture
def bptrain_data() -> Path:
    """Return the folder of real data sets, or skip."""
    folder = os.environ.get("BPTRAIN_DATA")
    if not folder:
        pytest.skip("BPTRAIN_DATA does not name a folder of real data sets")
    return Path(folder)
