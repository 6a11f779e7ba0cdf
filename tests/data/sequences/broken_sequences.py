"""Broken .npz files of sequences: what they hold, and words that the error must say."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Broken:
    """A file's content, config words beside its path, the error's words and its exit code."""

    content: bytes
    said: str
    words: tuple[str, ...] = ()
    code: int = 3
    also: str = ""
    files: dict[str, bytes] = field(default_factory=dict)


def npz(**arrays: Any) -> bytes:
    """Return a file written by numpy."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def valid(**changes: Any) -> bytes:
    """Return a valid file in which some arrays are others, or left out."""
    arrays = {
        "inputs": np.arange(120.0).reshape(10, 4, 3),
        "targets": np.arange(10) % 2,
        **changes,
    }
    return npz(**{name: array for name, array in arrays.items() if array is not None})


def flat(**changes: Any) -> bytes:
    """Return a valid file of flat values."""
    arrays = {"values": np.arange(24.0).reshape(12, 2), "lengths": np.array([3, 4, 5])}
    return npz(**{**arrays, "targets": np.array([0, 1, 0]), **changes})


def npy(shape: tuple[object, ...], body: bytes, descr: str = "'<f8'") -> bytes:
    """Return an array whose header may say anything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + body


def zipped(member: bytes, name: str = "inputs.npy", method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip with one array, and valid targets."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, member)
        archive.writestr("targets.npy", npy((3,), np.array([0, 1, 0]).tobytes(), "'<i8'"))
    return file.getvalue()


def with_hole(value: float) -> np.ndarray:
    inputs = np.ones((10, 4, 3))
    inputs[7, 2, 1] = value
    return inputs


def zeros_deflated(megabytes: int) -> bytes:
    """Return a deflated bomb: zeros behind a correct header."""
    body = bytes(megabytes * 2**20)
    return zipped(npy((3, 1, len(body) // 24), body), method=zipfile.ZIP_DEFLATED)


def patched(content: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    """Return a zip whose directory's first entry was changed."""
    data = bytearray(content)
    change(data, data.index(b"PK\1\2"))
    return bytes(data)


def declare(size: int) -> Callable[[bytearray, int], None]:
    """Make the directory say that the first array unpacks to `size` bytes."""
    return lambda data, at: struct.pack_into("<II", data, at + 20, size, size)


def encrypt(data: bytearray, at: int) -> None:
    data[at + 8] |= 1
    data[6] |= 1


VALID = zipped(npy((3, 2, 2), bytes(96)))

SEQUENCES: dict[str, Broken] = {
    "empty file": Broken(b"", "damaged, or no .npz file"),
    "a text file": Broken(b"1,2,3\n" * 50, "damaged, or no .npz file"),
    "a bare .npy": Broken(npy((3,), bytes(24)), "is an array of numpy (.npy), no .npz file"),
    "half a file": Broken(valid()[:700], "damaged, or no .npz file"),
    "a flipped byte": Broken(VALID.replace(bytes(96), bytes(95) + b"\1"), "Bad CRC-32"),
    "no targets": Broken(valid(targets=None), "no array 'targets'", also="its arrays: inputs"),
    "targets misspelt": Broken(
        valid(targets=None, target=np.zeros(10)),
        "no array 'targets'",
        also="rename 'target' to 'targets'",
    ),
    "no inputs": Broken(npz(targets=np.arange(3)), "no array 'inputs'"),
    "inputs and values": Broken(valid(values=np.zeros((9, 2))), "both inputs and values"),
    "values without lengths": Broken(
        npz(values=np.zeros((9, 2)), targets=np.arange(3)), "values without an array 'lengths'"
    ),
    "Python objects": Broken(
        valid(inputs=np.array([[1], [1, 2]], object)), "holds Python objects", also="run code"
    ),
    "text": Broken(valid(inputs=np.array([["a", "b"]] * 10)), "holds <U1"),
    "complex numbers": Broken(valid(inputs=np.ones((10, 4), complex)), "holds complex128"),
    "dates": Broken(valid(inputs=np.zeros((10, 4), "M8[s]")), "holds datetime64"),
    "records": Broken(valid(inputs=np.zeros((10, 4), "i4,f4")), "array 'inputs' holds"),
    "NaN": Broken(
        valid(inputs=with_hole(np.nan)), "inputs hold nan at step 30, feature 1", also="1 numbers"
    ),
    "infinity": Broken(valid(inputs=with_hole(np.inf)), "inputs hold inf at step 30"),
    "beyond float32": Broken(valid(inputs=with_hole(1e39)), "inputs hold 1e+39"),
    "one axis": Broken(valid(inputs=np.ones(10)), "inputs [10] of float64, expected [N, steps"),
    "four axes": Broken(valid(inputs=np.ones((10, 2, 2, 2))), "inputs [10, 2, 2, 2] of float64"),
    "no sequence": Broken(valid(inputs=np.ones((0, 4, 3))), "hold no number"),
    "no feature": Broken(valid(inputs=np.ones((10, 4, 0))), "hold no number"),
    "fewer targets": Broken(valid(targets=np.arange(9)), "do not fit 10 sequences"),
    "a negative class": Broken(valid(targets=np.arange(10) - 3), "targets[0] is -3"),
    "an absurd class": Broken(valid(targets=np.arange(10) * 10**12), "targets[1] is 1000000000000"),
    "one class": Broken(valid(targets=np.zeros(10, int)), "a single class"),
    "ints of another width": Broken(valid(targets=np.ones((10, 3), int)), "do not fit"),
    "a NaN target": Broken(valid(targets=np.full(10, np.nan)), "targets hold nan"),
    "another task": Broken(
        valid(), "for classification, data.task says", ("data.task=regression",)
    ),
    "lengths too many": Broken(valid(lengths=np.ones(11, int)), "11 lengths for 10 inputs"),
    "a length of 0": Broken(valid(lengths=np.arange(10) % 4), "lengths[0] is 0"),
    "a length beyond the steps": Broken(valid(lengths=np.arange(10) % 4 + 2), "lengths[3] is 5"),
    "fractions for lengths": Broken(valid(lengths=np.ones(10)), "lengths [10] of float64"),
    "lengths that do not add up": Broken(
        flat(lengths=np.array([3, 4, 6])), "lengths add up to 13, values has 12 steps"
    ),
    "a negative length": Broken(flat(lengths=np.array([-3, 10, 5])), "lengths[0] is -3"),
    "a padding bomb": Broken(
        npz(
            values=np.zeros(200_000, "i1"),
            lengths=np.array([1] * 100_000 + [100_000]),
            targets=np.arange(100_001) % 2,
        ),
        "padded to the longest",
        also="100,000 steps in the longest",
    ),
    "a header that declares more": Broken(
        zipped(npy((3, 2**20, 2**20), bytes(96))), "declares [3, 1048576, 1048576]", also="holds 96"
    ),
    "a header that declares less": Broken(
        zipped(npy((3, 2), bytes(96))), "declares [3, 2] float64"
    ),
    "a negative size": Broken(zipped(npy((-3, 2, 2), bytes(96))), "array 'inputs'"),
    "a truth value in a shape": Broken(zipped(npy((True, 5, 2), bytes(80))), "no valid header"),
    "seventy dimensions": Broken(zipped(npy((1,) * 70, bytes(8))), "no valid header"),
    "a size beyond 64 bits": Broken(zipped(npy((2**70,), bytes(8))), "the file holds 8"),
    "a size beyond 64 bits of nothing": Broken(zipped(npy((0, 2**70), b"")), "declares"),
    "a size of 63 bits of nothing": Broken(zipped(npy((2**63, 0), b"")), "declares"),
    "a header that is code": Broken(
        zipped(npy((3,), bytes(24), "__import__('os').abort()")), "no valid header"
    ),
    "a header without an end": Broken(
        zipped(b"\x93NUMPY\1\0\xff\xff{'descr'"), "'inputs' has no valid header"
    ),
    "an unknown version": Broken(zipped(b"\x93NUMPY\7\0" + bytes(50)), "no valid header"),
    "no magic": Broken(zipped(b"hello" * 20), "'inputs' has no valid header"),
    "a directory that declares gigabytes": Broken(
        patched(VALID, declare(0xF0000000)), "larger than itself"
    ),
    "a deflated bomb": Broken(zeros_deflated(80), "no data packs that well"),
    "a password": Broken(patched(VALID, encrypt), "cannot be unpacked", also="password"),
    "another compression": Broken(
        zipped(npy((3, 2, 2), bytes(96)), method=zipfile.ZIP_BZIP2), "numpy does not use"
    ),
    "a test file with more features": Broken(
        valid(),
        "4 features, the training file has 3",
        ("data.test_path=other.npz",),
        files={"other.npz": valid(inputs=np.ones((10, 4, 4)))},
    ),
    "a test file with more classes": Broken(
        valid(),
        "10 classes, the training file has 2",
        ("data.test_path=other.npz",),
        files={"other.npz": valid(targets=np.arange(10))},
    ),
    "a test file of another length": Broken(
        valid(),
        "sequences of 5",
        ("data.test_path=other.npz",),
        files={"other.npz": valid(inputs=np.ones((10, 5, 3)))},
    ),
    "sequences of many lengths for an mlp": Broken(flat(), "an mlp cannot solve", code=2),
}
