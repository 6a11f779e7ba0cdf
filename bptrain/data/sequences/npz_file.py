r"""Arrays from .npz files, read without trusting a byte of them.

A .npz file is a zip of .npy files; each of those is

    \x93NUMPY, version    8 bytes
    header                its length, then a literal: element type, order, shape
    the elements

The zip's directory and the array's header each declare a size. Both must agree, and fit the bytes
that are there, before anything of that size is asked for. Arrays of Python objects would need
pickle, which can run code: they are refused.
Source: numpy's NEP 1, "A simple file format for NumPy arrays".
"""

import zlib
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bptrain.errors import DataError, shorten

LARGEST_BYTES = 2**32  # of all arrays of a file
MOST_MEMBERS = 1_000
LARGE, PACKED = 2**26, 200  # no data of this size packs better than 200 to 1, a bomb does
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
NUMBERS = "fiub"  # kinds of element: float, signed, unsigned, boolean


def read_npz(path: Path, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return those of the wanted arrays that a file holds; others are left unread.

    Raises DataError naming the file, the array and what is wrong.
    """
    # what is no file (a pipe, a device) might never end
    if not path.is_file():
        found = (
            "is a directory" if path.is_dir() else "is no file" if path.exists() else "not found"
        )
        raise DataError(f"{path}: {found}", "", "data.path names a .npz file")
    try:
        with ZipFile(path) as archive:
            members = [each for each in archive.infolist() if stem(each) in wanted]
            _refuse_bombs(path, members, len(archive.infolist()))
            return {stem(each): _read_array(path, archive, each) for each in members}
    except (BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: damaged, or no .npz file", str(error), "numpy.savez writes such files"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # of zipfile: a method, a password
        raise DataError(f"{path}: cannot be unpacked", str(error)) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read", str(error)) from error


def stem(member: ZipInfo) -> str:
    """Return the name of the array in a member."""
    return member.filename.removesuffix(".npy")


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays in a file that read_npz has read."""
    with ZipFile(path) as archive:
        return [stem(member) for member in archive.infolist()]


def _refuse_bombs(path: Path, members: list[ZipInfo], count: int) -> None:
    """Raise DataError for sizes that are not real."""
    if count > MOST_MEMBERS or len({stem(each) for each in members}) < len(members):
        raise DataError(f"{path}: not a real .npz file", f"{count:,} arrays, or two of one name")
    if sum(each.compress_size for each in members) > path.stat().st_size:
        raise DataError(f"{path}: damaged, or no .npz file", "its arrays are larger than itself")
    total = sum(each.file_size for each in members)
    if total > LARGEST_BYTES:
        raise DataError(
            f"{path}: {total:,} bytes unpacked, at most {LARGEST_BYTES:,} are read",
            "a damaged or hostile file, or one too large to hold",
        )
    for each in members:
        if each.file_size > LARGE and each.file_size > PACKED * each.compress_size:
            raise DataError(
                f"{path}: array {stem(each)!r} unpacks to {each.file_size:,} bytes",
                f"from {each.compress_size:,}: no data packs that well",
                "numpy.savez, without compression, if this is real",
            )


def _read_array(path: Path, archive: ZipFile, member: ZipInfo) -> NDArray[Any]:
    name = stem(member)
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise DataError(f"{path}: array {name!r} is packed in a way that numpy does not use")
    with archive.open(member) as stream:
        shape, fortran, dtype = _read_header(path, name, stream)
        declared = prod(shape) * dtype.itemsize
        remaining = member.file_size - stream.tell()
        if declared != remaining:
            raise DataError(
                f"{path}: array {name!r} declares {list(shape)} {dtype}, {declared:,} bytes",
                f"the file holds {remaining:,}",
                "write the file again",
            )
        # one byte more than declared, so that the checksum at its end is compared
        content = stream.read(declared + 1)
    if len(content) != declared:
        raise DataError(f"{path}: array {name!r} ends after {len(content):,} of {declared:,} bytes")
    elements = np.frombuffer(content, dtype)
    array = elements.reshape(shape[::-1]).T if fortran else elements.reshape(shape)
    native: NDArray[Any] = array.astype(dtype.newbyteorder("="), order="C")
    return native


def _read_header(path: Path, name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Return shape, whether columns come first, and the element type; only numbers pass."""
    try:
        version = npy.read_magic(stream)
        shape, fortran, dtype = HEADERS[version](stream)
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{path}: array {name!r} has no sound header",
            shorten(str(error)),
            "numpy.savez writes it",
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{path}: array {name!r} holds Python objects",
            "reading them could run code",
            "flat values and lengths in place of a list of arrays, or padding",
        )
    if dtype.kind not in NUMBERS or dtype.subdtype is not None:
        raise DataError(
            f"{path}: array {name!r} holds {shorten(str(dtype), 60)}", "numbers are expected"
        )
    if any(size < 0 for size in shape):
        raise DataError(f"{path}: array {name!r} has the shape {list(shape)}")
    return shape, fortran, dtype
