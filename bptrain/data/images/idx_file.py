"""MNIST's IDX format, plain or gzipped; sizes are checked before memory is allocated.

    bytes 0-3   0, 0, element type (8: unsigned byte), number of dimensions d
    4d bytes    the size of each dimension, big-endian
    the rest    the elements, row by row
Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import zlib
from io import BufferedIOBase
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bptrain.errors import DataError

UNSIGNED_BYTE = 8
LARGEST_BYTES = 2**31  # a header may declare any size: no more than this is read
# above LARGE bytes no real images are packed better than 200 to 1, but a bomb is
LARGE, PACKED = 2**26, 200
BLOCK = 2**20


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Return the uint8 tensor of an IDX file, or raise DataError naming the file and the byte."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(path, header, dimensions)
            _refuse_a_bomb(path, prod(shape))
            body = bytearray(prod(shape) + 1)  # one more than declared shows whether bytes follow
            del body[_read_into(file, memoryview(body)) :]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file", str(error), "fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error
    if len(body) != prod(shape):
        found = "more" if len(body) > prod(shape) else f"{len(body):,}"
        raise DataError(
            f"{path}: the header declares {prod(shape):,} elements, the file holds {found}",
            f"wrong from byte {len(header) + min(len(body), prod(shape))} on",
            "fetch the file again",
        )
    return torch.from_numpy(np.frombuffer(body, dtype=np.uint8).reshape(shape))


def _read_into(file: BufferedIOBase, memory: memoryview) -> int:
    """Fill the memory as far as the file goes, and return how many bytes that is."""
    filled = 0
    while count := file.readinto(memory[filled : filled + BLOCK]):
        filled += count
    memory.release()
    return filled


def _refuse_a_bomb(path: Path, declared: int) -> None:
    """Raise DataError, before it is allocated, for a size that the file cannot hold."""
    size = path.stat().st_size
    packed = PACKED if path.suffix == ".gz" else 1
    if declared > LARGE and declared > packed * size:
        raise DataError(
            f"{path}: damaged header",
            f"{declared:,} elements are declared, the file has {size:,} bytes",
            "fetch the file again",
        )


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if header[:4] != expected:
        raise DataError(
            f"{path}: not an IDX file of {dimensions} dimensions",
            f"bytes 0-3 are {header[:4].hex(' ') or 'missing'}, expected {expected.hex(' ')}",
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path}: ends at byte {len(header)}, inside its header")
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4", offset=4))
    if prod(shape) > LARGEST_BYTES:
        raise DataError(
            f"{path}: damaged header", f"{prod(shape):.1e} elements are too many to be real"
        )
    return shape
