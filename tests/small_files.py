"""The folder of the shipped configs, and small files in MNIST's format."""

import gzip
from pathlib import Path

import numpy as np

CONFIGS = Path(__file__).parent.parent / "configs"


def idx_bytes(array: np.ndarray, magic: bytes | None = None) -> bytes:
    """Return an IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return header + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


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
